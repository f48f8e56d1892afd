// Drives a running cluster with the official Java client, from 4.9 to 5.5. Usage: Client NAMESRV TAG
// Prints a line for each step.
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.*;

public class Client extends Driver {
  static String ns, tag;
  static final List<DefaultMQPushConsumer> consumers = new ArrayList<>();

  static void step(String name, Work w) throws Exception {
    long at = System.currentTimeMillis();
    w.run();
    System.out.println("step " + name + " passed, " + (System.currentTimeMillis() - at) + " ms");
  }

  static DefaultMQPushConsumer consumer(String group, String topic, String expression, MessageListener l) throws Exception {
    DefaultMQPushConsumer c = pushConsumer(ns, group + tag);
    c.setInstanceName(group + tag + consumers.size());
    c.subscribe(topic + tag, expression);
    if (l instanceof MessageListenerOrderly) c.registerMessageListener((MessageListenerOrderly) l);
    else c.registerMessageListener((MessageListenerConcurrently) l);
    consumers.add(c);
    return c;
  }

  // The enumeration lives in another package since 5.0.
  @SuppressWarnings({"unchecked", "rawtypes"})
  static void broadcast(DefaultMQPushConsumer c) throws Exception {
    for (java.lang.reflect.Method m : DefaultMQPushConsumer.class.getMethods())
      if (m.getName().equals("setMessageModel")) m.invoke(c, Enum.valueOf((Class) m.getParameterTypes()[0], "BROADCASTING"));
  }

  public static void main(String[] args) {
    ns = args[0];
    tag = "_" + args[1];
    drive(Client::work);
  }

  static void work() throws Exception {
    DefaultMQProducer p = producer(ns, "java_producer" + tag);

    step("send: sync, async, one-way, batch, chosen queue", () -> {
      SendResult r = p.send(new Message("JPlain" + tag, "TagA", "key0", bytes("sync")));
      check(r.getSendStatus() == SendStatus.SEND_OK && r.getMsgId() != null && r.getOffsetMsgId() != null, "result " + r);
      CountDownLatch done = new CountDownLatch(10);
      for (int i = 0; i < 10; i++) p.send(new Message("JPlain" + tag, "TagB", bytes("async" + i)), new SendCallback() {
        public void onSuccess(SendResult x) { done.countDown(); }
        public void onException(Throwable e) { e.printStackTrace(System.out); }
      });
      check(done.await(20, TimeUnit.SECONDS), "async sends");
      p.sendOneway(new Message("JPlain" + tag, "TagA", bytes("oneway")));
      List<Message> batch = new ArrayList<>();
      for (int i = 0; i < 5; i++) batch.add(new Message("JPlain" + tag, "TagC", bytes("batch" + i)));
      check(p.send(batch).getSendStatus() == SendStatus.SEND_OK, "batch");
      for (int i = 0; i < 3; i++) {
        SendResult s = p.send(new Message("JPlain" + tag, "TagA", bytes("chosen" + i)), (mqs, m, arg) -> mqs.get((Integer) arg), 1);
        check(s.getMessageQueue().getQueueId() == 1, "queue " + s);
      }
    });

    Set<String> plain = ConcurrentHashMap.newKeySet(), tagged = ConcurrentHashMap.newKeySet();
    step("push consumer, all and by tag", () -> {
      consumer("jg_all", "JPlain", "*", into(plain)).start();
      consumer("jg_tag", "JPlain", "TagB || TagC", into(tagged)).start();
      await("20 messages", 40, () -> plain.size() == 20);
      await("15 messages with the tags", 40, () -> tagged.size() == 15);
      check(!tagged.contains("sync") && !tagged.contains("oneway"), "other tags came: " + tagged);
    });

    step("compressed body and properties", () -> {
      char[] big = new char[20000];
      Arrays.fill(big, 'x');
      Message m = new Message("JBig" + tag, "T", "k", bytes(new String(big)));
      m.putUserProperty("stadt", "K\u00f6ln");
      check(p.send(m).getSendStatus() == SendStatus.SEND_OK, "send");
      List<MessageExt> got = new CopyOnWriteArrayList<>();
      consumer("jg_big", "JBig", "*", (MessageListenerConcurrently) (msgs, ctx) -> { got.addAll(msgs); return ConsumeConcurrentlyStatus.CONSUME_SUCCESS; }).start();
      await("the message", 40, () -> got.size() == 1);
      check(got.get(0).getBody().length == 20000 && "K\u00f6ln".equals(got.get(0).getUserProperty("stadt")), "message " + got);
    });

    step("broadcasting", () -> {
      p.send(new Message("JCast" + tag, bytes("warm")));
      Set<String> one = ConcurrentHashMap.newKeySet(), two = ConcurrentHashMap.newKeySet();
      for (Set<String> box : Arrays.asList(one, two)) {
        DefaultMQPushConsumer c = consumer("jg_cast", "JCast", "*", into(box));
        broadcast(c);
        c.start();
      }
      for (int i = 0; i < 6; i++) p.send(new Message("JCast" + tag, bytes("b" + i)));
      await("all at both", 40, () -> one.size() >= 6 && two.size() >= 6 && one.contains("b5") && two.contains("b5"));
    });

    step("orderly", () -> {
      Map<Integer, Integer> last = new ConcurrentHashMap<>();
      AtomicInteger seen = new AtomicInteger(), wrong = new AtomicInteger();
      for (int i = 0; i < 30; i++) p.send(new Message("JOrder" + tag, bytes(i % 3 + ":" + i)), (mqs, m, arg) -> mqs.get((Integer) arg), i % 3);
      consumer("jg_order", "JOrder", "*", (MessageListenerOrderly) (msgs, ctx) -> {
        for (MessageExt m : msgs) {
          String[] s = text(m).split(":");
          Integer before = last.put(Integer.valueOf(s[0]), Integer.valueOf(s[1]));
          if (before != null && before > Integer.parseInt(s[1])) wrong.incrementAndGet();
          seen.incrementAndGet();
        }
        return ConsumeOrderlyStatus.SUCCESS;
      }).start();
      await("thirty messages", 60, () -> seen.get() >= 30);
      check(wrong.get() == 0, wrong + " out of order");
    });

    step("delay level, retry and dead letter", () -> {
      Message m = new Message("JDelay" + tag, bytes("later"));
      m.setDelayTimeLevel(1);
      long at = System.currentTimeMillis();
      check(p.send(m).getSendStatus() == SendStatus.SEND_OK, "send");
      List<String> got = new CopyOnWriteArrayList<>();
      List<Long> when = new CopyOnWriteArrayList<>();
      DefaultMQPushConsumer c = consumer("jg_retry", "JDelay", "*", (MessageListenerConcurrently) (msgs, ctx) -> {
        when.add(System.currentTimeMillis());
        got.add(text(msgs.get(0)) + msgs.get(0).getReconsumeTimes());
        ctx.setDelayLevelWhenNextConsume(1);
        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
      });
      c.setMaxReconsumeTimes(1);
      c.start();
      await("two deliveries", 60, () -> got.contains("later0") && got.contains("later1"));
      check(when.get(0) - at >= 800, "delivered after " + (when.get(0) - at) + " ms");
      DefaultLitePullConsumer dead = new DefaultLitePullConsumer("jg_dead" + tag);
      patient(dead);
      dead.setNamesrvAddr(ns);
      dead.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
      await("a dead letter", 60, () -> {
        try { return p.fetchPublishMessageQueues("%DLQ%jg_retry" + tag).size() == 1; } catch (Exception e) { return false; }
      });
      dead.subscribe("%DLQ%jg_retry" + tag, "*");
      dead.start();
      List<MessageExt> letters = new ArrayList<>();
      await("the dead letter itself", 60, () -> { letters.addAll(dead.poll(500)); return !letters.isEmpty(); });
      check("later".equals(text(letters.get(0))), "letter " + letters);
      dead.shutdown();
    });

    step("lite pull consumer, subscribed and assigned", () -> {
      for (int i = 0; i < 12; i++) p.send(new Message("JLite" + tag, "T", bytes("l" + i)));
      DefaultLitePullConsumer c = new DefaultLitePullConsumer("jg_lite" + tag);
      patient(c);
      c.setNamesrvAddr(ns);
      c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
      c.subscribe("JLite" + tag, "*");
      c.start();
      Set<String> got = new HashSet<>();
      await("twelve messages", 60, () -> { for (MessageExt m : c.poll(500)) got.add(text(m)); return got.size() == 12; });
      c.commitSync();
      c.shutdown();
      DefaultLitePullConsumer a = new DefaultLitePullConsumer("jg_assign" + tag);
      patient(a);
      a.setNamesrvAddr(ns);
      a.start();
      Collection<MessageQueue> qs = a.fetchMessageQueues("JLite" + tag);
      a.assign(qs);
      for (MessageQueue q : qs) a.seekToBegin(q);
      got.clear();
      await("twelve messages again", 60, () -> { for (MessageExt m : a.poll(500)) got.add(text(m)); return got.size() == 12; });
      a.shutdown();
    });

    step("query", () -> {
      SendResult r = p.send(new Message("JQuery" + tag, "T", "wanted", bytes("q")));
      await("by key", 20, () -> { try { return p.queryMessage("JQuery" + tag, "wanted", 8, 0, Long.MAX_VALUE / 2).getMessageList().size() == 1; } catch (Exception e) { return false; } });
      check("q".equals(text(p.viewMessage("JQuery" + tag, r.getMsgId()))), "by unique key");
      MessageQueue q = r.getMessageQueue();
      check(p.maxOffset(q) == r.getQueueOffset() + 1, "max offset");
      check(p.minOffset(q) == 0, "min offset");
      check(p.earliestMsgStoreTime(q) > 0, "earliest time");
    });

    for (DefaultMQPushConsumer c : consumers) c.shutdown();
    p.shutdown();
  }
}
