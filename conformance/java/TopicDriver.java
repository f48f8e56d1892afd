// A program about one topic and one group, whose first arguments are NAMESRV WHAT BROKER_ADDR BROKER_NAME TOPIC.
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

abstract class TopicDriver extends Driver {
  static String ns, addr, broker, topic, group;
  static DefaultMQProducer p;
  static DefaultMQAdminExt admin;

  static void start(String[] args) throws Exception {
    ns = args[0];
    addr = args[2];
    broker = args[3];
    topic = args[4];
    group = "g_" + topic;
    p = producer(ns, "p_" + topic);
    admin = new DefaultMQAdminExt(20000);
    admin.setNamesrvAddr(ns);
    admin.start();
  }
}
