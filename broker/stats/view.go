package stats

import "strings"

// View finds a statistic by Java's names: which one, and of what (behaviour.md 13.1). It reports false for one that has counted
// nothing yet, or that Apogee does not count.
func (s *Stats) View(name, of string) (View, bool) {
	switch name {
	case "BROKER_PUT_NUMS":
		return s.totalView(brokerPut)
	case "BROKER_GET_NUMS":
		return s.totalView(brokerGot)
	case "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC":
		return s.totalView(userPut)
	case "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC":
		return s.totalView(userGot)
	case "BROKER_CK_NUMS":
		return s.popView("", "", numChecks)
	case "BROKER_ACK_NUMS":
		return s.popView("", "", numAcks)
	case "TOPIC_PUT_NUMS":
		return itemView(s.find(of, ""), numMessages)
	case "TOPIC_PUT_SIZE":
		return itemView(s.find(of, ""), numBytes)
	}
	topic, group, _ := strings.Cut(of, "@")
	if topic == "" || group == "" {
		return View{}, false
	}
	switch name {
	case "GROUP_CK_NUMS":
		return s.popView(topic, group, numChecks)
	case "GROUP_ACK_NUMS":
		return s.popView(topic, group, numAcks)
	}
	which, ok := groupSeries[name]
	if !ok {
		return View{}, false
	}
	return itemView(s.find(topic, group), which)
}

// groupSeries is what statistics of groups are called.
var groupSeries = map[string]int{
	"GROUP_GET_NUMS": numMessages, "GROUP_GET_SIZE": numBytes, "SNDBCK_PUT_NUMS": numBack, "DLQ_PUT_NUMS": numDead,
}

func (s *Stats) totalView(which int) (View, bool) {
	if s.sums()[which].times == 0 {
		return View{}, false
	}
	return s.total[which].view(), true
}

func itemView(it *Item, which int) (View, bool) {
	if it == nil || it.counts(which).times == 0 {
		return View{}, false
	}
	return it.series[which].Load().view(), true
}
