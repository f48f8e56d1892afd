// A push consumer of the official Java client whose brokers have no master. Usage: Down NAMESRV GROUP TOPIC COUNT
// Prints "got BODY" for each message, and "ALL PASSED" once it has COUNT of them and its offsets are committed.
import java.nio.charset.StandardCharsets;
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

public class Down {
  public static void main(String[] args) throws Exception {
    CountDownLatch left = new CountDownLatch(Integer.parseInt(args[3]));
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(args[1]);
    c.setNamesrvAddr(args[0]);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.setPersistConsumerOffsetInterval(500);
    c.subscribe(args[2], "*");
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      for (MessageExt m : msgs) {
        System.out.println("got " + new String(m.getBody(), StandardCharsets.UTF_8));
        left.countDown();
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.start();
    boolean all = left.await(90, TimeUnit.SECONDS);
    Thread.sleep(3000); // anything that comes twice
    c.shutdown(); // commits
    System.out.println(all ? "ALL PASSED" : left.getCount() + " did not come");
    System.exit(all ? 0 : 1);
  }
}
