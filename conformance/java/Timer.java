// Sends timed messages with the Java client of 5.5 and recalls some. Usage: Timer NAMESRV TOPIC
// The topic has one queue. Prints a line for each step.
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.message.*;

public class Timer extends Driver {
  static Message message(String topic, String body) {
    return new Message(topic, "T", body, bytes(body));
  }

  public static void main(String[] args) { drive(() -> work(args[0], args[1])); }

  static void work(String namesrv, String topic) throws Exception {
    DefaultMQProducer p = producer(namesrv, "timer_producer");
    Map<String, Long> came = new ConcurrentHashMap<>();
    DefaultMQPushConsumer c = pushConsumer(namesrv, "timer_consumer");
    c.subscribe(topic, "*");
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      for (MessageExt m : msgs) came.put(text(m), m.getStoreTimestamp());
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.start();

    Map<String, Long> due = new LinkedHashMap<>();
    Message m = message(topic, "delay in seconds");
    due.put("delay in seconds", System.currentTimeMillis() + 3000);
    m.setDelayTimeSec(3);
    check(p.send(m).getRecallHandle() != null, "no handle");
    m = message(topic, "delay in ms");
    due.put("delay in ms", System.currentTimeMillis() + 2500);
    m.setDelayTimeMs(2500);
    check(p.send(m).getRecallHandle() != null, "no handle");
    m = message(topic, "time");
    due.put("time", System.currentTimeMillis() + 4000);
    m.setDeliverTimeMs(due.get("time"));
    check(p.send(m).getRecallHandle() != null, "no handle");
    System.out.println("sent");

    m = message(topic, "recalled");
    m.setDelayTimeMs(5000);
    SendResult r = p.send(m);
    String id = p.recallMessage(topic, r.getRecallHandle());
    check(r.getMsgId().equals(id), "recalled " + id + ", sent " + r.getMsgId());
    m = message(topic, "last");
    m.setDelayTimeMs(7000);
    p.send(m);
    System.out.println("recalled");
    check(p.send(message(topic, "plain")).getRecallHandle() == null, "handle of a plain message");
    try {
      p.recallMessage(topic, "bm9uc2Vuc2U=");
      check(false, "nonsense was recalled");
    } catch (Exception e) {
      System.out.println("refused: " + e.getMessage());
    }

    for (long end = System.currentTimeMillis() + 30000; !came.containsKey("last"); Thread.sleep(20))
      check(System.currentTimeMillis() < end, "the last message has not come, but " + came);
    check(!came.containsKey("recalled"), "the recalled message has come");
    for (Map.Entry<String, Long> e : due.entrySet()) {
      check(came.containsKey(e.getKey()), e.getKey() + " has not come");
      long late = came.get(e.getKey()) - e.getValue();
      System.out.println(e.getKey() + " came " + late + " ms after its time");
      check(late > -200 && late < 3500, e.getKey() + " came " + late + " ms after its time");
    }
    c.shutdown();
    p.shutdown();
  }
}
