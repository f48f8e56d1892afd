// Pops by the official Java client: waiting, in order, and by a push consumer whose mode changes.
// Usage: PopOrder NAMESRV poll|modes|fifo BROKER_ADDR BROKER_NAME TOPIC
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.header.*;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

public class PopOrder extends TopicDriver {
  static MQClientAPIImpl api;

  public static void main(String[] args) {
    drive(() -> {
      start(args);
      api = p.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
      if (args[1].equals("poll")) poll();
      if (args[1].equals("modes")) modes();
      if (args[1].equals("fifo")) fifo();
    });
  }

  static void create(int queues, boolean order) throws Exception {
    TopicConfig t = new TopicConfig(topic, queues, queues);
    if (order) t.setAttributes(new HashMap<>(Collections.singletonMap("+message.type", "FIFO")));
    admin.createAndUpdateTopicConfig(addr, t);
    SubscriptionGroupConfig g = new SubscriptionGroupConfig();
    g.setGroupName(group);
    g.setConsumeMessageOrderly(order);
    admin.createAndUpdateSubscriptionGroupConfig(addr, g);
  }

  static CompletableFuture<PopResult> pop(boolean order, int most, long invisible, long poll, String attempt) throws Exception {
    PopMessageRequestHeader h = new PopMessageRequestHeader();
    h.setConsumerGroup(group);
    h.setTopic(topic);
    h.setQueueId(-1);
    h.setMaxMsgNums(most);
    h.setInvisibleTime(invisible);
    h.setPollTime(poll);
    h.setBornTime(System.currentTimeMillis());
    h.setInitMode(0);
    h.setExpType("TAG");
    h.setExp("*");
    h.setOrder(order);
    h.setAttemptId(attempt);
    CompletableFuture<PopResult> f = new CompletableFuture<>();
    api.popMessageAsync(broker, addr, h, poll + 15000, new PopCallback() {
      public void onSuccess(PopResult r) { f.complete(r); }
      public void onException(Throwable e) { f.completeExceptionally(e); }
    });
    return f;
  }

  static AckResult await(CompletableFuture<AckResult> f) throws Exception { return f.get(20, TimeUnit.SECONDS); }

  static AckCallback into(CompletableFuture<AckResult> f) {
    return new AckCallback() {
      public void onSuccess(AckResult r) { f.complete(r); }
      public void onException(Throwable e) { f.completeExceptionally(e); }
    };
  }

  static AckResult ack(MessageExt m) throws Exception {
    AckMessageRequestHeader h = new AckMessageRequestHeader();
    h.setConsumerGroup(group);
    h.setTopic(m.getTopic());
    h.setQueueId(m.getQueueId());
    h.setOffset(m.getQueueOffset());
    h.setExtraInfo(m.getProperty(MessageConst.PROPERTY_POP_CK));
    CompletableFuture<AckResult> f = new CompletableFuture<>();
    api.ackMessageAsync(addr, 15000, into(f), h);
    return await(f);
  }

  static AckResult postpone(MessageExt m, long invisible) throws Exception {
    ChangeInvisibleTimeRequestHeader h = new ChangeInvisibleTimeRequestHeader();
    h.setConsumerGroup(group);
    h.setTopic(m.getTopic());
    h.setQueueId(m.getQueueId());
    h.setOffset(m.getQueueOffset());
    h.setExtraInfo(m.getProperty(MessageConst.PROPERTY_POP_CK));
    h.setInvisibleTime(invisible);
    CompletableFuture<AckResult> f = new CompletableFuture<>();
    api.changeInvisibleTimeAsync(broker, addr, h, 15000, into(f));
    return await(f);
  }

  // A pop waits, and is woken by a message.
  static void poll() throws Exception {
    create(2, false);
    long at = System.currentTimeMillis();
    PopResult r = pop(false, 8, 60000, 2000, null).get();
    check(r.getPopStatus() == PopStatus.POLLING_NOT_FOUND, "nothing comes: " + r);
    check(System.currentTimeMillis() - at >= 1700, "answered after " + (System.currentTimeMillis() - at) + " ms");
    CompletableFuture<PopResult> f = pop(false, 8, 60000, 20000, null);
    Thread.sleep(1000);
    check(!f.isDone(), "answered without a message");
    p.send(new Message(topic, bytes("wakes")));
    at = System.currentTimeMillis();
    r = f.get(10, TimeUnit.SECONDS);
    check(r.getPopStatus() == PopStatus.FOUND && text(r.getMsgFoundList().get(0)).equals("wakes"), "woken with " + r);
    check(System.currentTimeMillis() - at < 3000, "woken after " + (System.currentTimeMillis() - at) + " ms");
    check(ack(r.getMsgFoundList().get(0)).getStatus() == AckStatus.OK, "ack");
  }

  static void modes() throws Exception {
    create(4, false);
    Set<String> got = ConcurrentHashMap.newKeySet();
    DefaultMQPushConsumer c = pushConsumer(ns, group);
    c.setClientRebalance(false);
    c.subscribe(topic, "*");
    c.registerMessageListener(into(got));
    c.start();
    int sent = 0;
    for (String mode : new String[] {"PULL", "POP", "PULL"}) {
      admin.setMessageRequestMode(addr, topic, group, MessageRequestMode.valueOf(mode), 0, 15000);
      boolean popping = mode.equals("POP");
      await("a consumer that uses " + mode, 60, () -> {
        Set<MessageQueue> pulled = new HashSet<>(), popped = new HashSet<>();
        for (MessageQueue q : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) if (q.getTopic().equals(topic)) pulled.add(q);
        for (MessageQueue q : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getPopProcessQueueTable().keySet()) if (q.getTopic().equals(topic)) popped.add(q);
        return popping ? pulled.isEmpty() && popped.size() == 1 : pulled.size() == 4 && popped.isEmpty();
      });
      for (int i = 0; i < 12; i++) p.send(new Message(topic, bytes(mode + sent++)));
      int want = sent;
      await("all messages by " + mode, 60, () -> got.size() == want);
    }
    c.shutdown();
  }

  static final int KEYS = 6, EACH = 8;
  static final int[] done = new int[KEYS];
  static final Set<String> failed = new HashSet<>();
  static final List<String> wrong = new ArrayList<>();
  static final AtomicInteger again = new AtomicInteger();

  static void fifo() throws Exception {
    create(3, true);
    Map<Integer, Integer> queueOf = new HashMap<>();
    for (int i = 0; i < EACH; i++)
      for (int k = 0; k < KEYS; k++) {
        Message m = new Message(topic, bytes(k + ":" + i));
        m.putUserProperty("group", "k" + k);
        MessageAccessor.putProperty(m, MessageConst.PROPERTY_SHARDING_KEY, "k" + k);
        SendResult r = p.send(m, new org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash(), "k" + k);
        Integer before = queueOf.put(k, r.getMessageQueue().getQueueId());
        check(before == null || before == r.getMessageQueue().getQueueId(), "group k" + k + " went to two queues");
      }
    List<Thread> poppers = new ArrayList<>();
    for (int n = 0; n < 2; n++) {
      String name = "popper" + n;
      Thread t = new Thread(() -> {
        try {
          for (int round = 0; !finished(); round++) {
            PopResult r = pop(true, 4, 3000, 2000, name + "-" + round).get();
            if (r.getPopStatus() == PopStatus.FOUND) consume(r.getMsgFoundList());
          }
        } catch (Throwable e) {
          e.printStackTrace(System.out);
          synchronized (wrong) { wrong.add(e.toString()); }
        }
      });
      t.start();
      poppers.add(t);
    }
    await("all messages in order", 150, () -> finished());
    for (Thread t : poppers) t.join(20000);
    check(wrong.isEmpty(), "wrong: " + wrong);
    check(again.get() > 0, "nothing came again");
  }

  static boolean finished() {
    synchronized (wrong) {
      if (!wrong.isEmpty()) return true;
      for (int d : done) if (d < EACH) return false;
      return true;
    }
  }

  // One message of a batch after the other. The first time, some fail and are suspended for a while; some are left alone; the rest of the
  // batch then stays where it is, because it comes behind.
  static void consume(List<MessageExt> msgs) throws Exception {
    msgs = new ArrayList<>(msgs);
    msgs.sort(Comparator.comparing(MessageExt::getQueueId).thenComparing(MessageExt::getQueueOffset));
    Set<Integer> stuck = new HashSet<>();
    for (MessageExt m : msgs) {
      if (stuck.contains(m.getQueueId())) continue;
      String[] s = text(m).split(":");
      int k = Integer.parseInt(s[0]), i = Integer.parseInt(s[1]);
      boolean fails;
      synchronized (wrong) {
        if (i > done[k]) wrong.add(text(m) + " came before " + k + ":" + done[k]);
        fails = (k + i) % 5 == 0 && failed.add(text(m));
        if (m.getReconsumeTimes() > 0) again.incrementAndGet();
      }
      if (fails) {
        stuck.add(m.getQueueId());
        if (i % 2 == 0) for (MessageExt o : msgs) if (o.getQueueId() == m.getQueueId() && o.getQueueOffset() >= m.getQueueOffset()) postpone(o, 400);
        continue;
      }
      synchronized (wrong) { done[k] = Math.max(done[k], i + 1); } // before the ack: the other popper may have the next one before its answer
      check(ack(m).getStatus() == AckStatus.OK, "ack of " + text(m));
    }
  }
}
