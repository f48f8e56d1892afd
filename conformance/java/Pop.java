// The official Java client with pop: its low-level calls, and a push consumer that the broker has told to pop. Usage: Pop NAMESRV
// The topics JPop and JPopPush are there, with 4 queues each.
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.body.*;
import org.apache.rocketmq.remoting.protocol.header.*;

public class Pop extends Driver {
  static final String TOPIC = "JPop", GROUP = "jg_pop";
  static MQClientAPIImpl api;
  static String broker, addr;

  static List<MessageExt> pop(long invisible) throws Exception {
    PopMessageRequestHeader h = new PopMessageRequestHeader();
    h.setConsumerGroup(GROUP);
    h.setTopic(TOPIC);
    h.setQueueId(-1);
    h.setMaxMsgNums(32);
    h.setInvisibleTime(invisible);
    h.setPollTime(0);
    h.setBornTime(System.currentTimeMillis());
    h.setInitMode(0);
    h.setExpType("TAG");
    h.setExp("*");
    CompletableFuture<PopResult> done = new CompletableFuture<>();
    api.popMessageAsync(broker, addr, h, 30000, new PopCallback() {
      public void onSuccess(PopResult r) { done.complete(r); }
      public void onException(Throwable e) { done.completeExceptionally(e); }
    });
    PopResult r = done.get(40, TimeUnit.SECONDS);
    return r.getPopStatus() == PopStatus.FOUND ? r.getMsgFoundList() : new ArrayList<>();
  }

  static List<MessageExt> popAll(int n, long invisible) throws Exception {
    List<MessageExt> all = new ArrayList<>();
    await(n + " messages", 60, () -> {
      all.addAll(pop(invisible));
      return all.size() >= n;
    });
    check(all.size() == n, "more than " + n + " messages: " + all.size());
    return all;
  }

  static String[] extra(MessageExt m) {
    String ck = m.getProperty(MessageConst.PROPERTY_POP_CK);
    check(ck != null, "no receipt");
    String[] e = ExtraInfoUtil.split(ck);
    check(ExtraInfoUtil.getQueueOffset(e) == m.getQueueOffset() && ExtraInfoUtil.getBrokerName(e).equals(broker), "receipt " + ck);
    return e;
  }

  static void ack(MessageExt m) throws Exception {
    String[] e = extra(m);
    AckMessageRequestHeader h = new AckMessageRequestHeader();
    h.setTopic(ExtraInfoUtil.getRealTopic(e, m.getTopic(), GROUP));
    h.setQueueId(ExtraInfoUtil.getQueueId(e));
    h.setOffset(ExtraInfoUtil.getQueueOffset(e));
    h.setConsumerGroup(GROUP);
    h.setExtraInfo(m.getProperty(MessageConst.PROPERTY_POP_CK));
    CompletableFuture<AckResult> done = new CompletableFuture<>();
    api.ackMessageAsync(addr, 30000, new AckCallback() {
      public void onSuccess(AckResult r) { done.complete(r); }
      public void onException(Throwable x) { done.completeExceptionally(x); }
    }, h);
    check(done.get(40, TimeUnit.SECONDS).getStatus() == AckStatus.OK, "ack refused");
  }

  static void change(MessageExt m, long invisible) throws Exception {
    String[] e = extra(m);
    ChangeInvisibleTimeRequestHeader h = new ChangeInvisibleTimeRequestHeader();
    h.setTopic(ExtraInfoUtil.getRealTopic(e, m.getTopic(), GROUP));
    h.setQueueId(ExtraInfoUtil.getQueueId(e));
    h.setOffset(ExtraInfoUtil.getQueueOffset(e));
    h.setConsumerGroup(GROUP);
    h.setExtraInfo(m.getProperty(MessageConst.PROPERTY_POP_CK));
    h.setInvisibleTime(invisible);
    CompletableFuture<AckResult> done = new CompletableFuture<>();
    api.changeInvisibleTimeAsync(broker, addr, h, 30000, new AckCallback() {
      public void onSuccess(AckResult r) { done.complete(r); }
      public void onException(Throwable x) { done.completeExceptionally(x); }
    });
    AckResult r = done.get(40, TimeUnit.SECONDS);
    check(r.getStatus() == AckStatus.OK && r.getExtraInfo() != null, "change refused");
    MessageAccessor.putProperty(m, MessageConst.PROPERTY_POP_CK, r.getExtraInfo());
  }

  static void lowLevel(DefaultMQProducer p) throws Exception {
    for (int i = 0; i < 20; i++) p.send(new Message(TOPIC, "tag", bytes("m" + i)));
    Map<String, MessageExt> got = new TreeMap<>();
    for (MessageExt m : popAll(20, 6000)) check(got.put(text(m), m) == null && m.getTopic().equals(TOPIC), "twice: " + text(m));
    for (int i = 0; i < 15; i++) ack(got.get("m" + i));
    change(got.get("m19"), 3000);
    ack(got.get("m19"));
    Set<String> back = new TreeSet<>();
    for (MessageExt m : popAll(4, 60000)) {
      back.add(text(m));
      check(m.getReconsumeTimes() == 1 && m.getTopic().equals(TOPIC), "redelivered " + m);
      ack(m);
    }
    check(back.equals(new TreeSet<>(Arrays.asList("m15", "m16", "m17", "m18"))), "came back: " + back);
    Thread.sleep(3000);
    check(pop(1000).isEmpty(), "acknowledged messages come back");
  }

  // A push consumer that the broker has told to pop; a message fails once, and comes back by a change of its invisible time.
  static void push(String ns, DefaultMQProducer p) throws Exception {
    String topic = "JPopPush", group = "jg_poppush";
    api.setMessageRequestMode(addr, topic, group, MessageRequestMode.POP, 8, 30000);
    Map<String, Integer> seen = new ConcurrentHashMap<>();
    DefaultMQPushConsumer c = pushConsumer(ns, group);
    c.setClientRebalance(false);
    c.subscribe(topic, "*");
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      for (MessageExt m : msgs) {
        if (m.getProperty(MessageConst.PROPERTY_POP_CK) == null) seen.put("pulled " + text(m), 1);
        int n = seen.merge(text(m), 1, Integer::sum);
        if (n == 1 && text(m).endsWith("7")) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.setConsumeMessageBatchMaxSize(1);
    c.start();
    for (int i = 0; i < 30; i++) p.send(new Message(topic, bytes("p" + i)));
    await("pushed messages, those that failed twice", 90, () -> {
      for (int i = 0; i < 30; i++) if (seen.getOrDefault("p" + i, 0) < (i % 10 == 7 ? 2 : 1)) return false;
      return true;
    });
    for (String s : seen.keySet()) check(!s.startsWith("pulled"), s);
    c.shutdown();
  }

  public static void main(String[] args) {
    drive(() -> {
      DefaultMQProducer p = producer(args[0], "jp_pop");
      MQClientInstance client = p.getDefaultMQProducerImpl().getMqClientFactory();
      api = client.getMQClientAPIImpl();
      client.updateTopicRouteInfoFromNameServer(TOPIC);
      MessageQueue q = p.fetchPublishMessageQueues(TOPIC).get(0);
      broker = q.getBrokerName();
      addr = client.findBrokerAddressInPublish(broker);
      check(addr != null, "no address of " + broker);
      lowLevel(p);
      push(args[0], p);
      p.shutdown();
    });
  }
}
