package main

import (
	"testing"

	"apogee/bench"
)

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{7, 7, 1}, 7},
	} {
		if got := median(row.in); got == nil || *got != row.want {
			t.Errorf("median of %v is %v, want %v", row.in, got, row.want)
		}
	}
	if median(nil) != nil {
		t.Error("there is a median of nothing")
	}
	in := []float64{2, 1}
	if median(in); in[0] != 2 {
		t.Error("median sorts what it was given")
	}
}

func TestVerdict(t *testing.T) {
	for _, row := range []struct {
		name                string
		apogee, java, limit []float64
		more                bool
		owed                owed
		want                string
	}{
		{"a tenth", []float64{5}, []float64{50}, nil, false, part(10), met},
		{"a bit more than a tenth", []float64{5.1}, []float64{50}, nil, false, part(10), missed},
		{"eight times", []float64{8}, []float64{1}, nil, true, times(8), met},
		{"less than eight times", []float64{7.9}, []float64{1}, nil, true, times(8), missed},
		{"the median counts", []float64{5, 100, 4}, []float64{50, 50, 50}, nil, false, part(10), met},
		{"own bound", []float64{0.05}, []float64{9}, nil, false, atMost(0.06, " ms"), met},
		{"own bound missed, better than Java", []float64{0.07}, []float64{9}, nil, false, atMost(0.06, " ms"), missed},
		{"own bound, no Java", []float64{0.05}, nil, nil, false, atMost(0.06, " ms"), met},
		{"ratio without Java", []float64{5}, nil, nil, false, part(10), missed},
		{"part of the limit", []float64{90, 40}, []float64{1, 1}, []float64{100, 40}, true, owed{ofLimit: 0.9}, met},
		{"too small a part", []float64{80, 35}, []float64{1, 1}, []float64{100, 40}, true, owed{ofLimit: 0.9}, missed},
		{"no limit measured", []float64{80}, []float64{1}, nil, true, owed{ofLimit: 0.9}, missed},
		{"no figure", []float64{0}, []float64{1}, nil, false, part(10), missed},
		{"two bounds, one met", []float64{10}, []float64{50}, nil, false, owed{better: 2, atMost: 1}, missed},
		{"nothing owed", []float64{10}, []float64{5}, nil, false, owed{}, ""},
	} {
		r := row2(row.apogee, row.java, row.limit)
		r.judge(row.more, row.owed)
		if r.Verdict != row.want {
			t.Errorf("%s: %q, want %q (%+v)", row.name, r.Verdict, row.want, r)
		}
	}
}

func row2(apogee, java, limit []float64) row {
	return row{Runs: runs{Apogee: apogee, Java: java, Limit: limit}}
}

func TestNewRow(t *testing.T) {
	r := newRow("send", cpu, results{
		Apogee: []bench.Result{{BrokerCPU: 3, OtherLoad: 0.1}, {BrokerCPU: 4, OtherLoad: 0.7}, {BrokerCPU: 5}},
		Java:   []bench.Result{{BrokerCPU: 60}, {BrokerCPU: 40}, {BrokerCPU: 50, OtherLoad: 0.2}},
	}, part(10))
	if *r.Apogee != 4 || *r.Java != 50 || *r.Ratio != 12.5 || r.Verdict != met || r.Other != 0.7 || len(r.Runs.Java) != 3 || r.Limit != nil {
		t.Errorf("%+v", r)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.0512: "0.051", 0.5: "0.50", 3.14159: "3.14", 45.67: "45.7", 123.4: "123", 1234567.8: "1,234,568", -2000: "-2,000"} {
		if got := number(&v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if number(nil) != "" {
		t.Error("no number has a text")
	}
}

func TestOwedText(t *testing.T) {
	for o, want := range map[owed]string{part(8): "≤ 1/8 of Java's", times(8): "≥ 8 × Java's", atMost(0.06, " ms"): "≤ 0.06 ms", atMost(150, " MB"): "≤ 150 MB", atMost(1.5, " ms"): "≤ 1.5 ms"} {
		if o.text != want {
			t.Errorf("%q, want %q", o.text, want)
		}
	}
}
