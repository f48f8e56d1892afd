// A push consumer of the official Java client whose brokers have no master. Usage: Down NAMESRV GROUP TOPIC COUNT
// Prints "got BODY" for each message, and ends once it has COUNT of them and its offsets are committed.
import java.util.concurrent.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.common.message.MessageExt;

public class Down extends Driver {
  public static void main(String[] args) {
    drive(() -> {
      CountDownLatch left = new CountDownLatch(Integer.parseInt(args[3]));
      DefaultMQPushConsumer c = pushConsumer(args[0], args[1]);
      c.setPersistConsumerOffsetInterval(500);
      c.subscribe(args[2], "*");
      c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
        for (MessageExt m : msgs) {
          System.out.println("got " + text(m));
          left.countDown();
        }
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
      });
      c.start();
      boolean all = left.await(90, TimeUnit.SECONDS);
      Thread.sleep(3000); // anything that comes twice
      c.shutdown(); // commits
      check(all, left.getCount() + " did not come");
    });
  }
}
