package processor

import (
	"fmt"
	"math"

	"apogee/remoting/code"
	"apogee/store"
)

// faq is the end of a remark whose cause Java's FAQ explains. Clients do not parse it; people follow the address.
const faq = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."

// putCode is the answer to a put. stored says that the message is in the log although the answer may not be SUCCESS: then the
// answer carries its offsets, as clients expect of these codes (spec: behaviour.md 3.4).
func putCode(s store.PutStatus) (answer int32, stored bool) {
	switch s {
	case store.PutOK:
		return code.Success, true
	case store.FlushDiskTimeout:
		return code.FlushDiskTimeout, true
	case store.FlushSlaveTimeout:
		return code.FlushSlaveTimeout, true
	case store.SlaveNotAvailable:
		return code.SlaveNotAvailable, true
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		return code.MessageIllegal, false
	case store.ServiceNotAvailable:
		return code.ServiceNotAvailable, false
	case store.OSPageCacheBusy:
		return code.SystemBusy, false
	case store.LmqConsumeQueueNumExceeded:
		return code.LMQQuotaExceeded, false
	default:
		return code.SystemError, false
	}
}

// putRemark says why a put was refused. The tags in brackets, and the text of MESSAGE_ILLEGAL, are what operators' alerts match.
func (p *Processor) putRemark(res *store.PutResult) string {
	cause := ""
	if res.Err != nil {
		cause = ": " + res.Err.Error()
	} else if ok, why := p.Store.Writable(); !ok { // it was refused while it waited for the disk
		cause = ": " + why
	}
	switch res.Status {
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		return fmt.Sprintf("the message is illegal, maybe msg body or properties length not matched. msg body length limit %dB, msg properties length limit 32KB.", p.maxMessage())
	case store.ServiceNotAvailable:
		used := math.Round(p.Upkeep.Stats().DiskUsedRatio*100) / 100
		return fmt.Sprintf("service not available now%s. CL: %5.2f CQ: %5.2f INDEX: %5.2f", cause, used, used, used)
	case store.OSPageCacheBusy:
		return "[PC_SYNCHRONIZED]broker busy, start flow control for a while"
	case store.CreateMappedFileFailed:
		return "create mapped file failed, server is busy or broken." + cause
	case store.LmqConsumeQueueNumExceeded:
		return "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded." + cause
	case store.InSyncReplicasNotEnough:
		return "in-sync replicas not enough" + cause
	case store.UnknownError:
		return "UNKNOWN_ERROR" + cause
	default:
		return fmt.Sprintf("put status %d%s", res.Status, cause)
	}
}

func (p *Processor) maxMessage() int {
	if p.MaxMessage == nil {
		return 4 << 20
	}
	return p.MaxMessage()
}

// pullCode is the answer to a read (spec: behaviour.md 5.2). Where there is no queue, or nothing was ever in it, offset 0 is the
// right place to wait at and any other is not.
func pullCode(s store.GetStatus, asked int64) int32 {
	switch s {
	case store.Found:
		return code.Success
	case store.NoMatchedMessage, store.MessageWasRemoving:
		return code.PullRetryImmediately
	case store.NoMatchedLogicQueue, store.NoMessageInQueue:
		if asked != 0 {
			return code.PullOffsetMoved
		}
		return code.PullNotFound
	case store.OffsetFoundNull, store.OffsetOverflowOne:
		return code.PullNotFound
	default: // too small, far beyond the end, reset
		return code.PullOffsetMoved
	}
}
