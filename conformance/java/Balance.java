// Consumers of the official Java client that have the broker share the queues out (clientRebalance=false). Usage: Balance NAMESRV
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.message.*;

public class Balance extends Driver {
  static final String TOPIC = "JBalance", GROUP = "jg_balance";
  static final List<DefaultMQPushConsumer> consumers = new ArrayList<>();
  static final Set<String> got = ConcurrentHashMap.newKeySet();

  static void consumer(String ns, int i) throws Exception {
    DefaultMQPushConsumer c = pushConsumer(ns, GROUP);
    c.setInstanceName("instance" + i);
    c.setClientRebalance(false);
    c.subscribe(TOPIC, "*");
    c.registerMessageListener(into(got));
    c.start();
    consumers.add(c);
  }

  static Set<MessageQueue> held(DefaultMQPushConsumer c) {
    Set<MessageQueue> out = new HashSet<>();
    for (MessageQueue q : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet())
      if (q.getTopic().equals(TOPIC)) out.add(q);
    return out;
  }

  // Each consumer has what it would have worked out for itself.
  static boolean shared(DefaultMQProducer p) throws Exception {
    List<MessageQueue> queues = new ArrayList<>(p.fetchPublishMessageQueues(TOPIC));
    Collections.sort(queues);
    List<String> ids = new ArrayList<>();
    for (DefaultMQPushConsumer c : consumers) ids.add(c.buildMQClientId());
    Collections.sort(ids);
    for (DefaultMQPushConsumer c : consumers) {
      Set<MessageQueue> want = new HashSet<>(new AllocateMessageQueueAveragely().allocate(GROUP, c.buildMQClientId(), queues, ids));
      if (!held(c).equals(want)) return false;
    }
    return true;
  }

  public static void main(String[] args) {
    drive(() -> {
      DefaultMQProducer p = producer(args[0], "jp_balance");
      for (int i = 0; i < 10; i++) p.send(new Message(TOPIC, bytes("a" + i)));
      for (int i = 0; i < 3; i++) {
        consumer(args[0], i);
        await("queues shared among " + (i + 1), 60, () -> shared(p));
      }
      await("what was there", 60, () -> got.size() == 10);
      for (int i = 0; i < 20; i++) p.send(new Message(TOPIC, bytes("b" + i)));
      await("what came later", 60, () -> got.size() == 30);
      consumers.remove(1).shutdown();
      await("queues shared out again", 60, () -> shared(p));
      for (DefaultMQPushConsumer c : consumers) c.shutdown();
      p.shutdown();
    });
  }
}
