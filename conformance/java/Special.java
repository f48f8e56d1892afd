// Priorities, lite topics and offsets of broadcasting consumers with the official Java client.
// Usage: Special NAMESRV priority|lite|broadcast BROKER_ADDR BROKER_NAME TOPIC
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.impl.*;
import org.apache.rocketmq.client.impl.mqclient.MQClientAPIExt;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.lite.*;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.protocol.RequestSource;
import org.apache.rocketmq.remoting.protocol.header.*;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

public class Special extends TopicDriver {
  static MQClientAPIExt api;

  public static void main(String[] args) {
    drive(() -> {
      start(args);
      ClientConfig config = new ClientConfig();
      config.setNamesrvAddr(ns);
      api = new MQClientAPIExt(config, new NettyClientConfig(), new ClientRemotingProcessor(null), null);
      api.updateNameServerAddressList(ns);
      api.start();
      if (args[1].equals("priority")) priority();
      if (args[1].equals("lite")) lite();
      if (args[1].equals("broadcast")) broadcast();
    });
  }

  static void create(int queues, String type, String... groupAttributes) throws Exception {
    TopicConfig t = new TopicConfig(topic, queues, queues);
    if (type != null) t.setAttributes(new HashMap<>(Collections.singletonMap("+message.type", type)));
    admin.createAndUpdateTopicConfig(addr, t);
    SubscriptionGroupConfig g = new SubscriptionGroupConfig();
    g.setGroupName(group);
    Map<String, String> attributes = new HashMap<>();
    for (int i = 0; i < groupAttributes.length; i += 2) attributes.put("+" + groupAttributes[i], groupAttributes[i + 1]);
    g.setAttributes(attributes);
    admin.createAndUpdateSubscriptionGroupConfig(addr, g);
    await("route", 30, () -> !p.fetchPublishMessageQueues(topic).isEmpty());
  }

  static void ack(MessageExt m, String lite) throws Exception {
    String handle = m.getProperty(MessageConst.PROPERTY_POP_CK);
    AckMessageRequestHeader h = new AckMessageRequestHeader();
    h.setConsumerGroup(group);
    h.setTopic(m.getTopic());
    h.setQueueId(lite == null ? m.getQueueId() : 0);
    h.setOffset(ExtraInfoUtil.getQueueOffset(ExtraInfoUtil.split(handle)));
    h.setExtraInfo(handle);
    if (lite != null) h.setLiteTopic(lite);
    AckResult r = api.ackMessageAsync(addr, h, 15000).get(20, TimeUnit.SECONDS);
    check(r.getStatus() == AckStatus.OK, "ack of " + text(m) + ": " + r.getStatus());
  }

  // Messages with a higher priority are popped before those that were there first.
  static void priority() throws Exception {
    create(4, "PRIORITY");
    for (int priority : new int[] {0, 2, 1, 3}) {
      Message m = new Message(topic, bytes("p" + priority));
      m.setPriority(priority);
      SendResult r = p.send(m);
      check(r.getSendStatus() == SendStatus.SEND_OK && r.getMessageQueue().getQueueId() == priority, "sent: " + r);
    }
    for (int want = 3; want >= 0; want--) {
      PopMessageRequestHeader h = new PopMessageRequestHeader();
      h.setConsumerGroup(group);
      h.setTopic(topic);
      h.setQueueId(-1);
      h.setMaxMsgNums(1);
      h.setInvisibleTime(60000);
      h.setPollTime(10000);
      h.setBornTime(System.currentTimeMillis());
      h.setInitMode(0);
      h.setExpType("TAG");
      h.setExp("*");
      h.setOrder(false);
      PopResult r = api.popMessageAsync(addr, broker, h, 25000).get(30, TimeUnit.SECONDS);
      check(r.getPopStatus() == PopStatus.FOUND && r.getMsgFoundList().size() == 1, "pop: " + r);
      MessageExt m = r.getMsgFoundList().get(0);
      check(text(m).equals("p" + want) && m.getPriority() == want, "popped " + text(m) + " of priority " + m.getPriority() + ", want " + want);
      ack(m, null);
    }
  }

  static void subscribe(LiteSubscriptionAction action, String client, String... lite) throws Exception {
    LiteSubscriptionDTO s = new LiteSubscriptionDTO().setAction(action).setClientId(client).setGroup(group).setTopic(topic)
        .setLiteTopicSet(new HashSet<>(Arrays.asList(lite))).setVersion(System.currentTimeMillis());
    s.setOffsetOption(new OffsetOption(OffsetOption.Type.POLICY, OffsetOption.POLICY_MIN_VALUE));
    api.syncLiteSubscriptionAsync(addr, s, 15000).get(20, TimeUnit.SECONDS);
  }

  static List<MessageExt> pop(String client, long invisible, long poll) throws Exception {
    PopLiteMessageRequestHeader h = new PopLiteMessageRequestHeader();
    h.setClientId(client);
    h.setConsumerGroup(group);
    h.setTopic(topic);
    h.setMaxMsgNum(8);
    h.setInvisibleTime(invisible);
    h.setPollTime(poll);
    h.setBornTime(System.currentTimeMillis());
    PopResult r = api.popLiteMessageAsync(addr, broker, h, poll + 15000).get(poll + 20000, TimeUnit.MILLISECONDS);
    return r.getPopStatus() == PopStatus.FOUND ? r.getMsgFoundList() : Collections.emptyList();
  }

  static void put(String lite, String body) throws Exception {
    Message m = new Message(topic, bytes(body));
    MessageAccessor.setLiteTopic(m, lite);
    check(p.send(m).getSendStatus() == SendStatus.SEND_OK, "sent " + body);
  }

  // Lite topics: who subscribes gets the messages in order, the next one after an acknowledgement.
  static void lite() throws Exception {
    create(1, "LITE", "lite.bind.topic", topic);
    put("one", "1a");
    put("two", "2a");
    put("three", "not wanted");
    subscribe(LiteSubscriptionAction.PARTIAL_ADD, "c1", "one", "two");
    Map<String, MessageExt> got = new TreeMap<>();
    await("the first of each", 40, () -> {
      for (MessageExt m : pop("c1", 120000, 1000)) got.put(text(m), m);
      return got.size() >= 2;
    });
    check(got.keySet().equals(new TreeSet<>(Arrays.asList("1a", "2a"))), "got " + got.keySet());
    put("one", "1b");
    check(pop("c1", 120000, 500).isEmpty(), "a message behind one that is out");
    ack(got.get("1a"), "one");
    List<MessageExt> next = pop("c1", 120000, 15000);
    check(next.size() == 1 && text(next.get(0)).equals("1b"), "after the acknowledgement: " + next);
    ack(next.get(0), "one");
    ack(got.get("2a"), "two");
    check(api.getLiteTopicInfoAsync(addr, topic, "one", 15000).get(20, TimeUnit.SECONDS).getSubscriber().size() == 1, "subscribers");
    CompletableFuture<List<MessageExt>> waiting = CompletableFuture.supplyAsync(() -> {
      try {
        return pop("c1", 120000, 20000);
      } catch (Exception e) {
        throw new CompletionException(e);
      }
    });
    put("two", "2b");
    next = waiting.get(40, TimeUnit.SECONDS);
    check(next.size() == 1 && text(next.get(0)).equals("2b"), "a pop that waits: " + next);
    ack(next.get(0), "two");
    subscribe(LiteSubscriptionAction.PARTIAL_REMOVE, "c1", "two");
    await("one subscription less", 20, () -> api.getLiteTopicInfoAsync(addr, topic, "two", 15000).get(20, TimeUnit.SECONDS).getSubscriber().isEmpty());
  }

  // A broadcasting consumer keeps its offsets; a proxy that speaks for it goes on where it was.
  static void broadcast() throws Exception {
    create(1, null);
    for (int i = 0; i < 8; i++) p.send(new Message(topic, bytes("m" + i)));
    DefaultMQPushConsumer c = pushConsumer(ns, group);
    c.setMessageModel(MessageModel.BROADCASTING);
    c.subscribe(topic, "*");
    Set<String> got = ConcurrentHashMap.newKeySet();
    c.registerMessageListener(into(got));
    c.start();
    await("all messages", 60, () -> got.size() == 8);
    String client = c.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
    await("a proxy goes on where the client was", 40, () -> {
      PullResult r = proxied(client, -1);
      return r.getPullStatus() == PullStatus.OFFSET_ILLEGAL && r.getNextBeginOffset() == 8;
    });
    PullResult r = proxied("somebody new", 3);
    check(r.getPullStatus() == PullStatus.FOUND && r.getNextBeginOffset() == 8, "a pull of its own: " + r);
    r = proxied("somebody new", -1);
    check(r.getPullStatus() == PullStatus.OFFSET_ILLEGAL && r.getNextBeginOffset() == 3, "it goes on at 3: " + r);
    c.shutdown();
  }

  static PullResult proxied(String client, long offset) throws Exception {
    PullMessageRequestHeader h = new PullMessageRequestHeader();
    h.setConsumerGroup(group);
    h.setTopic(topic);
    h.setQueueId(0);
    h.setQueueOffset(offset);
    h.setMaxMsgNums(32);
    h.setSysFlag(4);
    h.setCommitOffset(0L);
    h.setSuspendTimeoutMillis(0L);
    h.setSubscription("*");
    h.setSubVersion(1L);
    h.setExpressionType("TAG");
    h.setRequestSource(RequestSource.PROXY_FOR_BROADCAST.getValue());
    h.setProxyFrowardClientId(client);
    CompletableFuture<PullResult> f = new CompletableFuture<>();
    api.pullMessage(addr, h, 15000, CommunicationMode.ASYNC, new PullCallback() {
      public void onSuccess(PullResult r) { f.complete(r); }
      public void onException(Throwable e) { f.completeExceptionally(e); }
    });
    return f.get(20, TimeUnit.SECONDS);
  }
}
