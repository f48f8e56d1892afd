// Ends transactions with the official Java client. Usage: Transactions NAMESRV NAME
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.message.*;

public class Transactions extends Driver {
  static final Map<String, AtomicInteger> asked = new ConcurrentHashMap<>();
  static final Queue<MessageExt> got = new ConcurrentLinkedQueue<>();

  static List<String> bodies() {
    List<String> out = new ArrayList<>();
    for (MessageExt m : got) out.add(text(m));
    Collections.sort(out);
    return out;
  }

  static LocalTransactionState state(String word) {
    if (word.startsWith("commit")) return LocalTransactionState.COMMIT_MESSAGE;
    if (word.startsWith("rollback")) return LocalTransactionState.ROLLBACK_MESSAGE;
    return LocalTransactionState.UNKNOW;
  }

  public static void main(String[] args) {
    drive(() -> {
      try {
        work(args[0], args[1]);
      } finally {
        System.out.println("got " + bodies() + ", asked " + asked);
      }
    });
  }

  static void work(String ns, String name) throws Exception {
    TransactionMQProducer p = new TransactionMQProducer("PG_" + name);
    patient(p);
    p.setNamesrvAddr(ns);
    p.setTransactionListener(new TransactionListener() {
      // A body says what to do: first/when asked.
      public LocalTransactionState executeLocalTransaction(Message m, Object arg) { return state(text(m).split("/")[0]); }
      public LocalTransactionState checkLocalTransaction(MessageExt m) {
        int n = asked.computeIfAbsent(text(m), k -> new AtomicInteger()).incrementAndGet();
        String[] say = text(m).split("/");
        return state(say[Math.min(n, say.length - 1)]);
      }
    });
    p.start();
    DefaultMQPushConsumer c = pushConsumer(ns, "G_" + name);
    c.subscribe(name, "*");
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      got.addAll(msgs);
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    DefaultMQProducer first = new DefaultMQProducer("First_" + name);
    patient(first);
    first.setNamesrvAddr(ns);
    first.start();
    first.createTopic("TBW102", name, 2, new HashMap<>());
    first.shutdown();
    for (String b : new String[] {"commit", "rollback", "unknown/commit", "unknown/rollback", "unknown/unknown/commit"}) {
      Message m = new Message(name, "tagJ", "key" + b.length(), bytes(b));
      if (b.equals("unknown/commit")) m.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "2");
      TransactionSendResult r = p.sendMessageInTransaction(m, null);
      check(r.getSendStatus() == SendStatus.SEND_OK, "status " + r);
      check(r.getTransactionId() != null && r.getLocalTransactionState() == state(b.split("/")[0]), "result " + r);
    }
    c.start();
    await("committed messages", 90, () -> got.size() >= 3);
    await("all questions", 60, () -> asked.containsKey("unknown/rollback"));
    check(bodies().equals(Arrays.asList("commit", "unknown/commit", "unknown/unknown/commit")), "consumed " + bodies());
    check(asked.get("commit") == null && asked.get("rollback") == null && asked.get("unknown/unknown/commit").get() == 2, "asked " + asked);
    for (MessageExt m : got) {
      check(name.equals(m.getTopic()) && "tagJ".equals(m.getTags()), "message " + m);
      check(m.getPreparedTransactionOffset() > 0 && m.getTransactionId() != null, "message " + m);
    }
    c.shutdown();
    p.shutdown();
  }
}
