// Batches and automatic batches with the official Java client. Usage: Kinds NAMESRV BATCHTOPIC PLAINTOPIC
// The topics have one queue each, that of the first is of type BatchCQ.
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.message.*;

public class Kinds extends Driver {
  static Message message(String topic, String body) {
    return new Message(topic, "", "key-" + body, bytes(body));
  }

  public static void main(String[] args) { drive(() -> work(args[0], args[1], args[2])); }

  static void work(String ns, String batchTopic, String plainTopic) throws Exception {
    Map<String, Long> at = new ConcurrentHashMap<>(); // body to queue offset
    List<String> twice = Collections.synchronizedList(new ArrayList<>());
    DefaultMQPushConsumer c = pushConsumer(ns, "g_" + batchTopic);
    c.subscribe(batchTopic, "*");
    c.subscribe(plainTopic, "*");
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      for (MessageExt m : msgs)
        if (at.put(m.getTopic() + text(m), m.getQueueOffset()) != null) twice.add(new String(m.getBody()));
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });

    DefaultMQProducer p = producer(ns, "p_" + batchTopic);
    long next = 0;
    Map<String, Long> sent = new HashMap<>();
    for (int n : new int[] {3, 1, 5}) { // batches, then a message of its own
      List<Message> l = new ArrayList<>();
      for (int i = 0; i < n; i++) l.add(message(batchTopic, "b" + (next + i)));
      SendResult r = p.send(l);
      check(r.getSendStatus() == SendStatus.SEND_OK && r.getQueueOffset() == next, "batch of " + n + ": " + r);
      for (int i = 0; i < n; i++) sent.put(batchTopic + "b" + (next + i), next + i);
      next += n;
    }
    SendResult single = p.send(message(batchTopic, "b" + next));
    check(single.getQueueOffset() == next, "single: " + single);
    sent.put(batchTopic + "b" + next, next);

    DefaultMQProducer auto = new DefaultMQProducer("a_" + batchTopic);
    patient(auto);
    auto.setNamesrvAddr(ns);
    auto.setInstanceName("auto_" + batchTopic);
    auto.setAutoBatch(true);
    auto.batchMaxDelayMs(20);
    auto.start();
    for (String topic : new String[] {plainTopic, batchTopic}) {
      CountDownLatch done = new CountDownLatch(40);
      Map<String, SendResult> results = new ConcurrentHashMap<>();
      List<Throwable> bad = Collections.synchronizedList(new ArrayList<>());
      for (int i = 0; i < 40; i++) {
        String body = "auto" + i;
        new Thread(() -> { // the callbacks of one batch all get its first offset, those who wait get theirs
          try {
            results.put(body, auto.send(message(topic, body)));
          } catch (Throwable e) {
            bad.add(e);
          }
          done.countDown();
        }).start();
      }
      check(done.await(20, TimeUnit.SECONDS) && bad.isEmpty(), "automatic batches: " + bad);
      Set<Long> offsets = new HashSet<>();
      for (Map.Entry<String, SendResult> e : results.entrySet()) {
        offsets.add(e.getValue().getQueueOffset());
        sent.put(topic + e.getKey(), topic.equals(plainTopic) ? e.getValue().getQueueOffset() : -1L);
      }
      // Of an inner batch all get the first offset: the client can't tell how many there were.
      check(results.size() == 40 && (offsets.size() == 40 || topic.equals(batchTopic)), "offsets of automatic batches: " + new TreeSet<>(offsets));
    }

    c.start();
    long end = System.currentTimeMillis() + 30_000;
    while (at.size() < sent.size() && System.currentTimeMillis() < end) Thread.sleep(20);
    Set<Long> own = new HashSet<>();
    for (Map.Entry<String, Long> e : sent.entrySet())
      if (e.getKey().startsWith(batchTopic)) {
        own.add(at.get(e.getKey()));
        if (e.getValue() < 0) e.setValue(at.get(e.getKey()));
      }
    check(own.size() == 50, "offsets in the queue of batches: " + own);
    check(at.equals(sent), "consumed " + new TreeMap<>(at) + "\nsent " + new TreeMap<>(sent));
    check(twice.isEmpty(), "consumed twice: " + twice);
    c.shutdown();
    auto.shutdown();
    p.shutdown();
  }
}
