// Prints one line "name<TAB>json" for each body, as RocketMQ 5.5.0's own classes write it; run with all its jars on the class path:
//   java -cp 'JARS/*' Bodies.java > bodies.txt
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.common.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.*;
import org.apache.rocketmq.remoting.protocol.admin.*;
import org.apache.rocketmq.remoting.protocol.body.*;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.heartbeat.*;
import org.apache.rocketmq.remoting.protocol.route.*;
import org.apache.rocketmq.remoting.protocol.statictopic.*;
import org.apache.rocketmq.remoting.protocol.subscription.*;

public class Bodies {
  static void out(String name, Object o) {
    System.out.println(name + "\t" + new String(RemotingSerializable.encode(o), java.nio.charset.StandardCharsets.UTF_8));
  }
  static DataVersion version() { DataVersion v = new DataVersion(); v.setTimestamp(1700000000000L); v.setStateVersion(2); v.setCounter(new java.util.concurrent.atomic.AtomicLong(7)); return v; }
  static TopicConfig topic() { TopicConfig c = new TopicConfig("T1", 4, 3, 6, 1); c.setOrder(true); c.getAttributes().put("message.type", "FIFO"); return c; }
  static SubscriptionData sub() { SubscriptionData s = new SubscriptionData("T1", "A || B"); s.setSubVersion(1700000000000L); s.getTagsSet().add("A"); s.getCodeSet().add(65); return s; }
  static MessageQueue mq() { return new MessageQueue("T1", "b-0", 3); }
  static Connection conn() { Connection c = new Connection(); c.setClientId("c@1"); c.setClientAddr("1.1.1.1:3"); c.setLanguage(LanguageCode.GO); c.setVersion(317); return c; }
  static TopicQueueMappingDetail mapping() {
    TopicQueueMappingDetail d = new TopicQueueMappingDetail("ST", 8, "b-0", 5);
    LogicQueueMappingItem i = new LogicQueueMappingItem(1, 2, "b-0", 3, 4, 5, 6, 7);
    d.getHostedQueues().put(0, new ArrayList<>(List.of(i))); d.getCurrIdMap().put(0, 2); return d;
  }
  static TopicQueueMappingInfo info() { TopicQueueMappingInfo i = new TopicQueueMappingInfo("ST", 8, "b-0", 5); i.getCurrIdMap().put(0, 2); return i; }
  static TopicConfigAndMappingSerializeWrapper wrapper() {
    TopicConfigAndMappingSerializeWrapper w = new TopicConfigAndMappingSerializeWrapper();
    w.setDataVersion(version()); w.setMappingDataVersion(version()); w.getTopicConfigTable().put("T1", topic());
    w.setTopicQueueMappingInfoMap(new HashMap<>(Map.of("ST", info()))); w.setTopicQueueMappingDetailMap(new HashMap<>(Map.of("ST", mapping()))); return w;
  }
  static BrokerData broker() { BrokerData b = new BrokerData("c1", "b-0", new HashMap<>(Map.of(0L, "10.0.0.1:10911", 1L, "10.0.0.2:10911"))); return b; }
  static QueueData queue() { QueueData q = new QueueData(); q.setBrokerName("b-0"); q.setPerm(6); q.setReadQueueNums(4); q.setWriteQueueNums(3); q.setTopicSysFlag(1); return q; }

  public static void main(String[] args) throws Exception {
    out("DataVersion", version());
    out("TopicConfig", topic());
    out("TopicConfig", new TopicConfig());
    TopicConfigSerializeWrapper tw = new TopicConfigSerializeWrapper(); tw.setDataVersion(version()); tw.getTopicConfigTable().put("T1", topic()); out("TopicConfigSerializeWrapper", tw);
    out("TopicConfigAndMappingSerializeWrapper", wrapper());
    TopicConfigAndQueueMapping tm = new TopicConfigAndQueueMapping(topic(), mapping()); out("TopicConfigAndQueueMapping", tm);
    out("TopicConfigAndQueueMapping", new TopicConfigAndQueueMapping(topic(), null));
    TopicQueueMappingSerializeWrapper mw = new TopicQueueMappingSerializeWrapper(); mw.setDataVersion(version()); mw.setTopicQueueMappingInfoMap(new HashMap<>(Map.of("ST", mapping()))); out("TopicQueueMappingSerializeWrapper", mw);
    CreateTopicListRequestBody ct = new CreateTopicListRequestBody(List.of(topic())); out("CreateTopicListRequestBody", ct);
    TopicList tl = new TopicList(); out("TopicList", tl); tl.setBrokerAddr("x:1"); tl.getTopicList().add("A"); out("TopicList", tl);
    KVTable kv = new KVTable(); out("KVTable", kv); kv.getTable().put("k", "v"); out("KVTable", kv);

    SubscriptionGroupConfig g = new SubscriptionGroupConfig(); out("SubscriptionGroupConfig", g);
    g.setGroupName("CG"); g.getAttributes().put("priority.factor", "50"); g.setConsumeMessageOrderly(true); g.setRetryMaxTimes(3);
    SimpleSubscriptionData sd = new SimpleSubscriptionData("T1", "TAG", "*", 5); g.setSubscriptionDataSet(new HashSet<>(Set.of(sd)));
    GroupRetryPolicy p = new GroupRetryPolicy(); p.setType(GroupRetryPolicyType.EXPONENTIAL); p.setExponentialRetryPolicy(new ExponentialRetryPolicy());
    p.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {1000, 5000})); g.setGroupRetryPolicy(p); out("SubscriptionGroupConfig", g);
    SubscriptionGroupWrapper gw = new SubscriptionGroupWrapper(); gw.setDataVersion(version()); gw.getSubscriptionGroupTable().put("CG", g);
    ConcurrentMap<String, Integer> f = new ConcurrentHashMap<>(); f.put("T1", 4); gw.getForbiddenTable().put("CG", f); out("SubscriptionGroupWrapper", gw);
    out("SubscriptionGroupList", new SubscriptionGroupList(List.of(g)));
    GroupForbidden gf = new GroupForbidden(); gf.setGroup("CG"); gf.setTopic("T1"); gf.setReadable(true); out("GroupForbidden", gf);
    GroupList gl = new GroupList(); gl.getGroupList().add("G"); out("GroupList", gl);

    HeartbeatData h = new HeartbeatData(); out("HeartbeatData", h);
    h.setClientID("1.1.1.1@1"); ProducerData pd = new ProducerData(); pd.setGroupName("PG"); h.getProducerDataSet().add(pd);
    ConsumerData cd = new ConsumerData(); cd.setGroupName("CG"); cd.setConsumeType(ConsumeType.CONSUME_PASSIVELY); cd.setMessageModel(MessageModel.CLUSTERING);
    cd.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP); cd.getSubscriptionDataSet().add(sub()); h.getConsumerDataSet().add(cd); h.setHeartbeatFingerprint(-5); h.setWithoutSub(true); out("HeartbeatData", h);
    CheckClientRequestBody cc = new CheckClientRequestBody(); cc.setClientId("c@1"); cc.setGroup("CG"); cc.setSubscriptionData(sub()); out("CheckClientRequestBody", cc);
    ConsumerConnection co = new ConsumerConnection(); out("ConsumerConnection", co); co.getConnectionSet().add(conn()); co.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
    co.setConsumeType(ConsumeType.CONSUME_POP); co.setMessageModel(MessageModel.BROADCASTING); co.getSubscriptionTable().put("T1", sub()); out("ConsumerConnection", co);
    ProducerConnection pc = new ProducerConnection(); pc.getConnectionSet().add(conn()); out("ProducerConnection", pc);
    out("ProducerTableInfo", new ProducerTableInfo(new HashMap<>(Map.of("PG", List.of(new ProducerInfo("c@1", "1.1.1.1:3", LanguageCode.GO, 513, 1700000000000L))))));
    org.apache.rocketmq.remoting.protocol.header.GetConsumerListByGroupResponseBody cl = new org.apache.rocketmq.remoting.protocol.header.GetConsumerListByGroupResponseBody(); cl.setConsumerIdList(List.of("a", "b")); out("GetConsumerListByGroupResponseBody", cl);
    QuerySubscriptionResponseBody qs = new QuerySubscriptionResponseBody(); qs.setGroup("CG"); qs.setTopic("T1"); qs.setSubscriptionData(sub()); out("QuerySubscriptionResponseBody", qs);

    LockBatchRequestBody lb = new LockBatchRequestBody(); lb.setClientId("c@1"); lb.setConsumerGroup("CG"); lb.getMqSet().add(mq()); out("LockBatchRequestBody", lb);
    LockBatchResponseBody lr = new LockBatchResponseBody(); out("LockBatchResponseBody", lr); lr.getLockOKMQSet().add(mq()); out("LockBatchResponseBody", lr);
    TopicStatsTable ts = new TopicStatsTable(); out("TopicStatsTable", ts); TopicOffset to = new TopicOffset(); to.setMaxOffset(9); to.setMinOffset(1); to.setLastUpdateTimestamp(1700000000000L); ts.getOffsetTable().put(mq(), to); ts.setTopicPutTps(1e7); out("TopicStatsTable", ts);
    ConsumeStats cs = new ConsumeStats(); OffsetWrapper ow = new OffsetWrapper(); ow.setBrokerOffset(9); ow.setConsumerOffset(5); ow.setPullOffset(6); ow.setLastTimestamp(1700000000000L); cs.getOffsetTable().put(mq(), ow); cs.setConsumeTps(1.5); out("ConsumeStats", cs);
    ConsumeStatsList csl = new ConsumeStatsList(); csl.setBrokerAddr("x:1"); csl.setTotalDiff(4); csl.getConsumeStatsList().add(new HashMap<>(Map.of("G", List.of(cs)))); out("ConsumeStatsList", csl);
    ResetOffsetBody ro = new ResetOffsetBody(); ro.setOffsetTable(new HashMap<>(Map.of(mq(), 42L))); out("ResetOffsetBody", ro);
    ResetOffsetBodyForC rc = new ResetOffsetBodyForC(); rc.setOffsetTable(List.of(new MessageQueueForC("T1", "b-0", 3, 42))); out("ResetOffsetBodyForC", rc);
    GetConsumerStatusBody gs = new GetConsumerStatusBody(); gs.setMessageQueueTable(new HashMap<>(Map.of(mq(), 1L))); gs.setConsumerTable(new HashMap<>(Map.of("c@1", Map.of(mq(), 1L)))); out("GetConsumerStatusBody", gs);
    QueryCorrectionOffsetBody qc = new QueryCorrectionOffsetBody(); qc.setCorrectionOffsets(new HashMap<>(Map.of(0, 5L))); out("QueryCorrectionOffsetBody", qc);
    QueryConsumeTimeSpanBody qt = new QueryConsumeTimeSpanBody(); QueueTimeSpan q = new QueueTimeSpan(); q.setMessageQueue(mq()); q.setMinTimeStamp(1); q.setDelayTime(2); qt.setConsumeTimeSpanSet(List.of(q)); out("QueryConsumeTimeSpanBody", qt);
    QueryConsumeQueueResponseBody qq = new QueryConsumeQueueResponseBody(); ConsumeQueueData cq = new ConsumeQueueData(); cq.setBitMap("01"); cq.setEval(true); cq.setExtendDataJson("{}"); cq.setMsg("m"); cq.setPhysicOffset(1); cq.setPhysicSize(200); cq.setTagsCode(7);
    qq.setFilterData("f"); qq.setMaxQueueIndex(9); qq.setMinQueueIndex(1); qq.setQueueData(List.of(cq)); qq.setSubscriptionData(sub()); out("QueryConsumeQueueResponseBody", qq);
    BrokerStatsData bs = new BrokerStatsData(); BrokerStatsItem bi = new BrokerStatsItem(); bi.setSum(5); bi.setTps(0.5); bi.setAvgpt(1); bs.setStatsDay(bi); bs.setStatsHour(bi); bs.setStatsMinute(bi); out("BrokerStatsData", bs);
    HARuntimeInfo ha = new HARuntimeInfo(); out("HARuntimeInfo", ha); HARuntimeInfo.HAConnectionRuntimeInfo hc = new HARuntimeInfo.HAConnectionRuntimeInfo(); hc.setAddr("x:1"); hc.setDiff(5); ha.getHaConnectionInfo().add(hc); ha.setMaster(true); ha.getHaClientRuntimeInfo().setMasterAddr("m:1"); out("HARuntimeInfo", ha);

    TopicRouteData r = new TopicRouteData(); r.setBrokerDatas(List.of(broker())); r.setQueueDatas(List.of(queue())); r.setFilterServerTable(new HashMap<>()); out("TopicRouteData", r);
    BrokerData z = broker(); z.setZoneName("z1"); z.setEnableActingMaster(true); r.setBrokerDatas(List.of(z)); r.setOrderTopicConf("b-0:4"); r.setFilterServerTable(new HashMap<>(Map.of("10.0.0.1:10911", List.of("f:1")))); r.setTopicQueueMappingByBroker(new HashMap<>(Map.of("b-0", info()))); out("TopicRouteData", r);
    ClusterInfo ci = new ClusterInfo(); ci.setBrokerAddrTable(new HashMap<>(Map.of("b-0", broker()))); ci.setClusterAddrTable(new HashMap<>(Map.of("c1", Set.of("b-0")))); out("ClusterInfo", ci);
    GetBrokerMemberGroupResponseBody gm = new GetBrokerMemberGroupResponseBody(); BrokerMemberGroup mg = new BrokerMemberGroup("c1", "b-0"); mg.setBrokerAddrs(new HashMap<>(Map.of(0L, "x:1"))); gm.setBrokerMemberGroup(mg); out("GetBrokerMemberGroupResponseBody", gm);
    RegisterBrokerBody rb = new RegisterBrokerBody(); rb.setTopicConfigSerializeWrapper(wrapper()); rb.setFilterServerList(List.of("f:1")); out("RegisterBrokerBody", rb);
    out("RegisterBrokerBody.compressed", Base64.getEncoder().encodeToString(rb.encode(true)));
    ConsumerOffsetSerializeWrapper cw = new ConsumerOffsetSerializeWrapper(); cw.setDataVersion(version()); ConcurrentMap<Integer, Long> os = new ConcurrentHashMap<>(Map.of(0, 5L, 1, 6L)); cw.getOffsetTable().put("T1@CG", os); out("ConsumerOffsetSerializeWrapper", cw);
    MessageRequestModeSerializeWrapper mr = new MessageRequestModeSerializeWrapper(); SetMessageRequestModeRequestBody sm = new SetMessageRequestModeRequestBody(); sm.setConsumerGroup("CG"); sm.setTopic("T1"); sm.setMode(MessageRequestMode.POP); sm.setPopShareQueueNum(8);
    mr.setMessageRequestModeMap(new ConcurrentHashMap<>(Map.of("T1", new ConcurrentHashMap<>(Map.of("CG", sm))))); out("MessageRequestModeSerializeWrapper", mr);
  }
}
