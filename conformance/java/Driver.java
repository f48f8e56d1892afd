// What the programs of this folder share. Each drives a cluster with the official Java client, of any release from 4.9 on, and ends with
// "ALL PASSED"; anything else is a failure.
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

abstract class Driver {
  interface Work { void run() throws Exception; }

  // Does the work and ends the process.
  static void drive(Work w) {
    try {
      w.run();
      System.out.println("ALL PASSED");
      System.exit(0);
    } catch (Throwable e) {
      e.printStackTrace(System.out);
      System.exit(1);
    }
  }

  static void check(boolean ok, String what) {
    if (!ok) throw new IllegalStateException(what);
  }

  static void await(String what, int seconds, Callable<Boolean> f) throws Exception {
    long end = System.currentTimeMillis() + seconds * 1000L;
    while (!f.call()) {
      check(System.currentTimeMillis() < end, what + ": not within " + seconds + " s");
      Thread.sleep(20);
    }
  }

  static byte[] bytes(String s) { return s.getBytes(StandardCharsets.UTF_8); }

  static String text(Message m) { return new String(m.getBody(), StandardCharsets.UTF_8); }

  static DefaultMQProducer producer(String ns, String group) throws Exception {
    DefaultMQProducer p = new DefaultMQProducer(group);
    p.setNamesrvAddr(ns);
    p.setSendMsgTimeout(15000);
    patient(p);
    p.start();
    return p;
  }

  // A consumer of everything that is there, which has yet to subscribe and to start.
  static DefaultMQPushConsumer pushConsumer(String ns, String group) {
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
    c.setNamesrvAddr(ns);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    patient(c);
    return c;
  }

  // A heartbeat or a question for a route that takes over 3 s on a busy machine would be tried again half a minute later only.
  static void patient(ClientConfig c) { c.setMqClientApiTimeout(15000); }

  static MessageListenerConcurrently into(Collection<String> box) {
    return (msgs, ctx) -> {
      for (MessageExt m : msgs) box.add(text(m));
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    };
  }
}
