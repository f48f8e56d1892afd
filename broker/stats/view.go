package stats

import "strings"

// View finds a statistic by Java's names: which one, and of what (behaviour.md 13.1). It reports false for one that has counted
// nothing yet, or that Apogee does not count.
func (s *Stats) View(name, of string) (View, bool) {
	var one *series
	switch name {
	case "BROKER_PUT_NUMS":
		one = &s.brokerPut.count
	case "BROKER_GET_NUMS":
		one = &s.brokerGot.count
	case "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC":
		one = &s.userPut.count
	case "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC":
		one = &s.userGot.count
	default:
		one = s.series(name, of)
	}
	if one == nil || one.times.Load() == 0 {
		return View{}, false
	}
	return one.view(), true
}

func (s *Stats) series(name, of string) *series {
	topic, group, _ := strings.Cut(of, "@")
	if name == "TOPIC_PUT_NUMS" || name == "TOPIC_PUT_SIZE" {
		topic, group = of, ""
	} else if group == "" {
		return nil
	}
	it := s.find(topic, group)
	if it == nil {
		return nil
	}
	switch name {
	case "TOPIC_PUT_NUMS", "GROUP_GET_NUMS":
		return &it.count
	case "TOPIC_PUT_SIZE", "GROUP_GET_SIZE":
		return &it.bytes
	case "SNDBCK_PUT_NUMS":
		return &it.back
	case "DLQ_PUT_NUMS":
		return &it.dead
	}
	return nil
}
