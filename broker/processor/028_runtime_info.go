package processor

import (
	"fmt"
	"path"
	"strconv"
	"time"

	"apogee/broker/meta"
	"apogee/broker/timer"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
)

// protocolVersion is what this broker says it is: V5_5_0 (remoting.md 2.6).
const protocolVersion = "V5_5_0"

// 028 GET_BROKER_RUNTIME_INFO: the broker's state as a table of texts (AdminBrokerProcessor.prepareRuntimeInfo; remoting.md 6.8). Always 0.
//
// mqadmin and the dashboard parse several of them and fail on one that is missing, so all are there; what has no counterpart here
// (transient pool, transactions) says what Java says where it is switched off.
func (p *Processor) runtimeInfo(r *remoting.Request) {
	t := make(map[string]string, 80)
	p.storeInfo(t)
	p.brokerInfo(t)
	p.laneInfo(t)
	p.replicaInfo(t)
	replyJSON(r, &body.KVTable{Table: t})
}

func (p *Processor) storeInfo(t map[string]string) {
	s := p.Upkeep.Stats()
	t["bootTimestamp"] = strconv.FormatInt(p.started.UnixMilli(), 10)
	t["runtime"] = uptime(p.Now().Sub(p.started))
	t["putMessageTimesTotal"] = strconv.FormatInt(s.PutTotal, 10)
	t["putMessageFailedTimes"] = strconv.FormatInt(s.PutFailed, 10)
	t["putMessageSizeTotal"] = strconv.FormatInt(s.PutBytes, 10)
	average := 0.0
	if s.PutTotal > 0 {
		average = float64(s.PutBytes) / float64(s.PutTotal)
	}
	t["putMessageAverageSize"] = double(average)
	// Java times each put and each get for these; we do not.
	t["putMessageEntireTimeMax"], t["getMessageEntireTimeMax"] = "0", "0"
	t["putLatency99"], t["putLatency999"] = "0.00", "0.00"
	t["dispatchMaxBuffer"] = "0"
	t["putMessageDistributeTime"] = "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 " +
		"[1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 "
	rates := p.Rates.View()
	t["putTps"], t["getFoundTps"] = three(rates.Put), three(rates.Found)
	t["getMissTps"], t["getTotalTps"] = three(rates.Miss), three(rates.Total)
	t["getTransferredTps"] = three(rates.Transferred)

	ratio := double(s.DiskUsedRatio)
	t["commitLogDiskRatio"], t["commitLogDiskRatio_"+p.LogDir], t["consumeQueueDiskRatio"] = ratio, ratio, ratio
	t["commitLogMinOffset"] = strconv.FormatInt(s.MinPhysical, 10)
	t["commitLogMaxOffset"] = strconv.FormatInt(s.MaxPhysical, 10)
	t["dispatchBehindBytes"] = strconv.FormatInt(s.DispatchBehind, 10)
	t["earliestMessageTimeStamp"] = strconv.FormatInt(s.EarliestStoreTime, 10)
	t["remainHowManyDataToFlush"] = byteText(s.MaxPhysical - s.Flushed)
	t["remainTransientStoreBufferNumbs"] = "2147483647"
	if u, err := p.FS.DiskUsage(path.Clean(p.LogDir)); err == nil {
		t["commitLogDirCapacity"] = fmt.Sprintf("Total : %s, Free : %s.", byteText(int64(u.Total)), byteText(int64(u.Total-u.Used)))
	} else {
		t["commitLogDirCapacity"] = "Total : 0 B, Free : 0 B."
	}
	var delays struct {
		OffsetTable map[int32]int64 `json:"offsetTable"`
	}
	if fastjson.Unmarshal(p.Delays.JSON(), &delays) == nil {
		for level, off := range delays.OffsetTable {
			end := max(0, p.Queues.MaxOffset(meta.ScheduleTopic, level-1))
			t["scheduleMessageOffset_"+strconv.Itoa(int(level))] = fmt.Sprintf("%d,%d", off, end)
		}
	}
}

func (p *Processor) brokerInfo(t map[string]string) {
	c := p.cfg()
	t["brokerActive"] = strconv.FormatBool(p.Acting.Active())
	t["brokerVersionDesc"] = protocolVersion
	d := p.Stats.Days()
	t["msgPutTotalYesterdayMorning"] = strconv.FormatInt(d.PutYesterdayMorning, 10)
	t["msgPutTotalTodayMorning"] = strconv.FormatInt(d.PutTodayMorning, 10)
	t["msgPutTotalTodayNow"] = strconv.FormatInt(d.PutNow, 10)
	t["msgGetTotalYesterdayMorning"] = strconv.FormatInt(d.GetYesterdayMorning, 10)
	t["msgGetTotalTodayMorning"] = strconv.FormatInt(d.GetTodayMorning, 10)
	t["msgGetTotalTodayNow"] = strconv.FormatInt(d.GetNow, 10)
	t["pageCacheLockTimeMills"] = strconv.FormatInt(p.Upkeep.AppendLockHeldMs(), 10)
	t["startAcceptSendRequestTimeStamp"] = strconv.FormatInt(c.StartAcceptSend, 10)
	var timed timer.Progress
	if p.Timers != nil {
		timed = p.Timers.Progress()
	}
	t["timerReadBehind"] = strconv.FormatInt(timed.ReadBehind, 10)
	t["timerOffsetBehind"] = strconv.FormatInt(timed.OffsetBehind, 10)
	t["timerCongestNum"] = strconv.FormatInt(timed.Waiting, 10)
	t["timerEnqueueTps"], t["timerDequeueTps"] = "0.0", "0.0"
}

func (p *Processor) laneInfo(t map[string]string) {
	for name, l := range map[string]*remoting.Lane{
		"send": p.Lanes.Send, "pull": p.Lanes.Pull, "litePull": p.Lanes.LitePull, "query": p.Lanes.Query,
	} {
		s := l.Stats()
		t[name+"ThreadPoolQueueSize"] = strconv.Itoa(s.Queued)
		t[name+"ThreadPoolQueueCapacity"] = strconv.Itoa(s.Capacity)
		t[name+"ThreadPoolQueueHeadWaitTimeMills"] = strconv.FormatInt(s.HeadWait.Milliseconds(), 10)
	}
	c := p.cfg()
	t["ackThreadPoolQueueSize"], t["ackThreadPoolQueueHeadWaitTimeMills"] = "0", "0"
	t["ackThreadPoolQueueCapacity"] = strconv.Itoa(c.AckQueue)
	t["EndTransactionQueueSize"] = strconv.Itoa(p.Lanes.Transaction.Stats().Queued)
	t["EndTransactionThreadPoolQueueCapacity"] = strconv.Itoa(c.TransactionQueue)
}

// replicaInfo is how far replicas are behind, in bytes and seconds, where mqadmin brokerStatus shows it. Java has nothing of it.
func (p *Processor) replicaInfo(t map[string]string) {
	h := p.HA.HAStatus()
	for _, c := range h.HAConnectionInfo {
		t["replicaBehind_"+c.Addr] = behindText(&c.Diff, c.DiffMillis)
	}
	if c := &h.HAClientRuntimeInfo; c.MasterAddr != "" {
		t["behindMaster"] = behindText(c.Diff, c.DiffMillis)
	}
}

func behindText(bytes, ms *int64) string {
	if bytes == nil || ms == nil {
		return "not known"
	}
	return fmt.Sprintf("%s, %.1f s", byteText(*bytes), float64(*ms)/1000)
}

// uptime is StoreStatsService.getFormatRuntime.
func uptime(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", s/86400, s/3600%24, s/60%60, s%60)
}

// double is a number as Java prints it: always with a fraction.
func double(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	for i := range len(s) {
		if s[i] == '.' {
			return s
		}
	}
	return s + ".0"
}

// three is a rate over 10 s, 60 s and 600 s.
func three(v [3]float64) string { return double(v[0]) + " " + double(v[1]) + " " + double(v[2]) }

// byteText is MixAll.humanReadableByteCount with binary units.
func byteText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, exp := float64(n)/unit, 0
	for v >= unit && exp < 5 {
		v, exp = v/unit, exp+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[exp])
}
