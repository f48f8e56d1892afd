package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency are percentiles of one kind of delay.
type Latency struct {
	Count   int64         `json:"count"`
	Mean    time.Duration `json:"mean_ns"`
	P50     time.Duration `json:"p50_ns"`
	P90     time.Duration `json:"p90_ns"`
	P99     time.Duration `json:"p99_ns"`
	P999    time.Duration `json:"p999_ns"`
	P9999   time.Duration `json:"p9999_ns"`
	Maximum time.Duration `json:"max_ns"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) }
	return Latency{
		Count: h.TotalCount(), Mean: time.Duration(h.Mean()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99),
		Maximum: time.Duration(h.Max()),
	}
}

// newHistogram holds a microsecond to a minute with three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
}

// record puts a delay in; what is outside of the histogram's range counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(clamp(d))
}

func clamp(d time.Duration) int64 { return min(max(int64(d), 0), int64(time.Minute)) }

// Result is one run.
type Result struct {
	Kind     string        `json:"kind"`
	Broker   string        `json:"broker"`
	Settings string        `json:"settings"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Messages int64         `json:"messages"`
	Requests int64         `json:"requests"`
	Bytes    int64         `json:"bytes"`
	Errors   map[int]int64 `json:"errors,omitempty"` // by answer code
	FirstErr string        `json:"first_error,omitempty"`
	// Requests that had no answer 10 s after the end; the broker has lost them.
	Unanswered int64 `json:"unanswered,omitempty"`

	Rate     float64  `json:"messages_per_second"`
	Send     *Latency `json:"send,omitempty"`       // request to answer; open loop: from the intended time
	Delivery *Latency `json:"delivery,omitempty"`   // intended time of the send to arrival at the consumer
	Written  *Latency `json:"from_write,omitempty"` // the sender's write to arrival at the consumer: without this program's own lateness
	Pull     *Latency `json:"pull,omitempty"`

	BrokerPID       int          `json:"broker_pid,omitempty"`
	BrokerCPU       float64      `json:"broker_cpu_us_per_message,omitempty"` // is also seconds per million messages
	BrokerCPUShare  float64      `json:"broker_cores,omitempty"`
	BenchCPU        float64      `json:"bench_cpu_us_per_message"`
	OtherLoad       float64      `json:"other_load_cores"` // of the machine, without broker and this process
	Memory          *Memory      `json:"memory,omitempty"` // the highest that was seen
	Slave           *SlaveResult `json:"slave,omitempty"`
	Behind          int64        `json:"behind_schedule,omitempty"` // open loop: sends that left more than 1 ms late
	Pauses          []Pause      `json:"pauses,omitempty"`          // open loop: delays of sends above 20 ms
	Delivered       int64        `json:"delivered,omitempty"`       // to all consumer groups
	NotDeliveredYet int64        `json:"not_delivered,omitempty"`
}

// account fills in what comes from the processor times before and after.
func (r *Result) account(pid int, before, after usage) {
	r.Elapsed = after.at.Sub(before.at)
	seconds := r.Elapsed.Seconds()
	if r.Messages > 0 && seconds > 0 {
		r.Rate = float64(r.Messages) / seconds
		r.BenchCPU = float64((after.self - before.self).Microseconds()) / float64(r.Messages)
	}
	broker := after.broker - before.broker
	r.OtherLoad = max(0, (after.machine-before.machine-broker-(after.self-before.self)).Seconds()/seconds)
	if pid == 0 {
		return
	}
	r.BrokerPID = pid
	r.BrokerCPUShare = broker.Seconds() / seconds
	if r.Messages > 0 {
		r.BrokerCPU = float64(broker.Microseconds()) / float64(r.Messages)
	}
	if m, err := MemoryOf(pid); err == nil {
		r.Memory = m.higher(r.Memory)
	}
}

// Failed counts requests with an answer other than success.
func (r *Result) Failed() int64 {
	var n int64
	for _, c := range r.Errors {
		n += c
	}
	return n
}

// pausesPrinted is how many of them people want to see.
const pausesPrinted = 30

// Print writes the result for people.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s: %s\n", r.Kind, r.Broker, r.Settings)
	fmt.Fprintf(&b, "  %s messages in %.1f s: %s messages/s, %.1f MiB/s of bodies\n", group(r.Messages), r.Elapsed.Seconds(), group(int64(r.Rate)),
		float64(r.Bytes)/r.Elapsed.Seconds()/(1<<20))
	for _, l := range []struct {
		name string
		l    *Latency
	}{{"send", r.Send}, {"delivery", r.Delivery}, {"written", r.Written}, {"pull", r.Pull}} {
		if l.l != nil {
			fmt.Fprintf(&b, "  %-9s p50 %s  p90 %s  p99 %s  p99.9 %s  p99.99 %s  max %s\n", l.name, ms(l.l.P50), ms(l.l.P90), ms(l.l.P99), ms(l.l.P999),
				ms(l.l.P9999), ms(l.l.Maximum))
		}
	}
	if r.BrokerPID != 0 {
		fmt.Fprintf(&b, "  broker (process %d): %.2f s CPU per million messages, %.2f cores", r.BrokerPID, r.BrokerCPU, r.BrokerCPUShare)
		if r.Memory != nil {
			fmt.Fprintf(&b, ", memory %.0f MiB anonymous of %.0f resident", float64(r.Memory.Anonymous)/(1<<20), float64(r.Memory.Resident)/(1<<20))
		}
		b.WriteString("\n")
	} else {
		b.WriteString("  broker: not on this machine, or not to be looked at: no CPU figures\n")
	}
	if s := r.Slave; s != nil {
		fmt.Fprintf(&b, "  slave: %.2f s of that per million messages; %s bytes behind at the end, all there %s later\n", s.CPU, group(s.Behind), ms(s.CatchUp))
	}
	fmt.Fprintf(&b, "  this program: %.2f s CPU per million messages; others on this machine: %.2f cores\n", r.BenchCPU, r.OtherLoad)
	if r.Behind > 0 {
		fmt.Fprintf(&b, "  %s sends left more than 1 ms after their time (their delay counts from the intended time)\n", group(r.Behind))
	}
	for i, p := range r.Pauses {
		if i == pausesPrinted {
			fmt.Fprintf(&b, "  and %d more pauses\n", len(r.Pauses)-i)
			break
		}
		fmt.Fprintf(&b, "  delays above 20 ms from %s on, for %s, the highest %s\n", p.At.Format("15:04:05.000"), ms(p.Length), ms(p.Longest))
	}
	if r.NotDeliveredYet > 0 {
		fmt.Fprintf(&b, "  %s messages had not arrived at the end\n", group(r.NotDeliveredYet))
	}
	if r.Unanswered > 0 {
		fmt.Fprintf(&b, "  %s requests had no answer 10 s after the end\n", group(r.Unanswered))
	}
	codes := make([]int, 0, len(r.Errors))
	for c := range r.Errors {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		fmt.Fprintf(&b, "  answers with code %d: %s\n", c, group(r.Errors[c]))
	}
	if r.FirstErr != "" {
		fmt.Fprintf(&b, "  first of them: %s\n", r.FirstErr)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond)) }

// group writes a number with commas.
func group(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
