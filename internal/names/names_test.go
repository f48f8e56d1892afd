package names

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, model := New[int](), map[string]*int{}
		for step := range rapid.IntRange(1, 500).Draw(t, "steps") {
			name := fmt.Sprint("n", rapid.IntRange(0, 150).Draw(t, "name"))
			switch rapid.IntRange(0, 4).Draw(t, "length") {
			case 0:
				name = strings.Repeat(name[len(name)-1:], rapid.IntRange(shortName-1, shortName+1).Draw(t, "n"))
			case 1:
				name = ""
			}
			if rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				_, ok := model[name]
				delete(model, name)
				if table.Remove(name) != ok {
					t.Fatalf("removed %s: %v", name, !ok)
				}
			} else {
				frame := []byte(name)
				filled := false
				own, v := table.Add(string(frame), func(own string, v *int) {
					filled, *v = true, step
					if own != name {
						t.Fatalf("%s is called %s", name, own)
					}
				})
				if own != name {
					t.Fatalf("%s is called %s", name, own)
				}
				if old, ok := model[name]; ok == filled || ok && v != old || filled && *v != step {
					t.Fatalf("%s is %v, was %v", name, v, old)
				}
				model[name] = v
			}
			if got := table.Find(name); got != model[name] {
				t.Fatalf("%s is %v, want %v", name, got, model[name])
			}
		}
		n := 0
		for name, v := range table.All() {
			if n++; model[name] != v {
				t.Fatalf("%s is %v, want %v", name, v, model[name])
			}
		}
		if n != len(model) || table.Len() != n {
			t.Fatalf("%d names, %d counted, want %d", n, table.Len(), len(model))
		}
	})
}

// Names that stay are found whatever comes and goes beside them.
func TestTableAtOnce(t *testing.T) {
	table := New[string]()
	var mu sync.Mutex
	add := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		table.Add(name, func(own string, v *string) { *v = own })
	}
	const stay = 500
	var done sync.WaitGroup
	for w := range 3 {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range stay {
				add(fmt.Sprint("stay", i))
				gone := fmt.Sprint("gone", rnd.IntN(300))
				add(gone)
				for range 20 {
					name := fmt.Sprint("stay", rnd.IntN(i+1))
					if v := table.Find(name); v == nil || *v != name {
						t.Errorf("%s is %v", name, v)
					}
				}
				mu.Lock()
				table.Remove(gone)
				mu.Unlock()
			}
		})
	}
	done.Wait()
	if table.Len() != stay {
		t.Errorf("%d names", table.Len())
	}
}

func TestTableLetsGo(t *testing.T) {
	table := New[int]()
	for i := range 100_000 {
		name := fmt.Sprint(i)
		table.Add(name, func(string, *int) {})
		table.Remove(name)
	}
	if n := len(table.slots.Load().all); n > 1024 {
		t.Errorf("%d slots for no names", n)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, keys := New[int](), make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("BenchTopic_%05d", i)
				table.Add(keys[i], func(string, *int) {})
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.Find(keys[i]) == nil {
					b.Fatal("not found")
				}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}
