package processor

import (
	"slices"
	"strings"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// unique sorts and removes doubles; never nil.
func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(append([]string{}, names...))
}

// 200 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: an operator creates or changes a group
// (AdminBrokerProcessor.updateAndCreateSubscriptionGroup). 29 for an illegal name, 1 for attributes that cannot be.
func (p *Processor) updateGroup(r *remoting.Request) {
	var g body.SubscriptionGroupConfig
	if decodeBody(r, &g) {
		p.changeGroups(r, []*body.SubscriptionGroupConfig{&g})
	}
}

// 225 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: the same for many: all of them or none.
func (p *Processor) updateGroups(r *remoting.Request) {
	var b body.SubscriptionGroupList
	if decodeBody(r, &b) {
		p.changeGroups(r, b.GroupConfigList)
	}
}

func (p *Processor) changeGroups(r *remoting.Request, wanted []*body.SubscriptionGroupConfig) {
	names := make([]string, 0, len(wanted))
	for _, g := range wanted {
		if g == nil {
			r.Fail(code.SystemError, "a group of the list is null")
			return
		}
		if text := meta.ValidateGroup(g.GroupName); text != "" {
			r.Fail(code.InvalidParameter, "%s", text)
			return
		}
		names = append(names, g.GroupName)
	}
	p.Log.Info("groups changed by operator", "group", strings.Join(names, ";"), "addr", r.Conn().RemoteText())
	replyDone(r, p.Groups.Update(wanted...))
}

// 201 GET_ALL_SUBSCRIPTIONGROUP_CONFIG: the table of groups; pages like 021 (AdminBrokerProcessor.getAllSubscriptionGroup).
func (p *Processor) allGroups(r *remoting.Request) {
	c := p.cfg()
	all := p.Groups.All()
	w := &body.SubscriptionGroupWrapper{
		SubscriptionGroupTable: all, ForbiddenTable: p.Groups.Forbidden(), DataVersion: p.Groups.Version(),
	}
	if len(r.Fields) > 0 && c.SplitMetadata {
		var h header.GetAllSubscriptionGroupConfigRequest
		_ = h.DecodeFields(r.Fields) // groupSeq may be missing: 0
		from, to := page(h.GroupSeq, h.MaxGroupNum, c.SplitMetadataSize, len(all), h.DataVersion, w.DataVersion)
		w.SubscriptionGroupTable = make(map[string]*body.SubscriptionGroupConfig, to-from)
		w.ForbiddenTable = map[string]map[string]int32{}
		forbidden := p.Groups.Forbidden()
		for _, name := range p.Groups.Names()[from:to] {
			w.SubscriptionGroupTable[name] = all[name]
			if f, ok := forbidden[name]; ok {
				w.ForbiddenTable[name] = f
			}
		}
	}
	r.Reply(&remoting.Reply{
		Header: &header.GetAllSubscriptionGroupConfigResponse{TotalGroupNum: int32(len(all))},
		Body:   fastjson.Marshal(w),
	})
}

// 207 DELETE_SUBSCRIPTIONGROUP (AdminBrokerProcessor.deleteSubscriptionGroup): 0, also for a group that is not there. Offsets go only
// with cleanOffset.
func (p *Processor) deleteGroup(r *remoting.Request) {
	var h header.DeleteSubscriptionGroupRequest
	if !decode(r, &h) {
		return
	}
	err := p.Groups.Delete(h.GroupName)
	p.Pop.Forget("", h.GroupName)
	if h.CleanOffset {
		p.Offsets.DeleteGroup(h.GroupName)
		p.Orders.DeleteGroup(h.GroupName)
	}
	if p.cfg().DropUnusedStats {
		p.Stats.DeleteGroup(h.GroupName)
	}
	p.Log.Info("group deleted by operator", "group", strings.Clone(h.GroupName), "addr", r.Conn().RemoteText())
	replyDone(r, err)
}

// 352 GET_SUBSCRIPTIONGROUP_CONFIG: one group; like every look-up of Java it creates the group where that is allowed
// (AdminBrokerProcessor.getSubscriptionGroup). 26 otherwise.
func (p *Processor) groupConfig(r *remoting.Request) {
	var h header.GetSubscriptionGroupConfigRequest
	if !decode(r, &h) {
		return
	}
	g, ok := p.Groups.Ensure(h.Group)
	if !ok {
		r.Fail(code.SubscriptionGroupNotExist, "No group in this broker")
		return
	}
	replyJSON(r, g)
}

// 353 UPDATE_AND_GET_GROUP_FORBIDDEN: may a group consume a topic; with readable, also changes it
// (AdminBrokerProcessor.updateAndGetGroupForbidden). Always 0.
func (p *Processor) groupForbidden(r *remoting.Request) {
	var h header.UpdateAndGetGroupForbiddenRequest
	if !decode(r, &h) {
		return
	}
	if h.Readable.Valid {
		if err := p.Groups.SetReadable(h.Group, h.Topic, h.Readable.Value); err != nil {
			r.Fail(code.SystemError, "%v", err)
			return
		}
		p.Log.Info("group forbidden or allowed by operator", "group", strings.Clone(h.Group), "topic", strings.Clone(h.Topic),
			"readable", h.Readable.Value, "addr", r.Conn().RemoteText())
	}
	replyJSON(r, &body.GroupForbidden{Group: h.Group, Topic: h.Topic, Readable: p.Groups.Readable(h.Group, h.Topic)})
}
