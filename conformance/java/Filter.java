// Filters messages with the official Java client. Usage: Filter NAMESRV
// Prints a line for each step. The broker has enablePropertyFilter=true.
import java.util.*;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.*;

public class Filter extends Driver {
  static DefaultMQPushConsumer consumer(String ns, String group, String expression, Collection<String> box) throws Exception {
    DefaultMQPushConsumer c = pushConsumer(ns, group);
    c.setInstanceName(group);
    c.subscribe("JavaFiltered", MessageSelector.bySql(expression));
    c.registerMessageListener(into(box));
    return c;
  }

  public static void main(String[] args) { drive(() -> work(args[0])); }

  static void work(String ns) throws Exception {
    DefaultMQProducer p = producer(ns, "java_filter_producer");
    for (int i = 0; i < 10; i++) {
      Message m = new Message("JavaFiltered", bytes("m" + i));
      m.putUserProperty("a", String.valueOf(i));
      if (i % 2 == 0) m.putUserProperty("city", "北京");
      p.send(m);
    }
    Collection<String> box = new ConcurrentLinkedQueue<>();
    DefaultMQPushConsumer good = consumer(ns, "java_filter_good", "a >= 4 AND city STARTSWITH '北'", box);
    good.start();
    long end = System.currentTimeMillis() + 60000;
    while (box.size() < 3 && System.currentTimeMillis() < end) Thread.sleep(20);
    check(new TreeSet<>(box).equals(new TreeSet<>(Arrays.asList("m4", "m6", "m8"))), "messages " + box);
    System.out.println("step filtered passed");

    DefaultMQPushConsumer bad = consumer(ns, "java_filter_bad", "a >", new ArrayList<>());
    try {
      bad.start();
      check(false, "a consumer with a bad expression starts");
    } catch (MQClientException e) {
      check(e.getResponseCode() == 23, "code " + e.getResponseCode() + " " + e.getMessage());
    }
    System.out.println("step refused passed");
    good.shutdown();
    p.shutdown();
  }
}
