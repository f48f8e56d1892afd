package store

import (
	"math"
	"slices"
	"strings"
	"sync"

	"apogee/store/record"
)

// QueryResult are the records that an index query found, in the order of the log. They are valid until Release.
type QueryResult struct {
	Records        [][]byte
	LastUpdateTime int64 // store time and log offset of what was indexed last
	LastUpdatePhys int64
	Release        func() // never nil; may be called twice
}

const (
	queryRounds = 3
	indexTags   = "T" // index type: look tags up
)

// Query finds records of a topic by a key, and a range of store times (DefaultMessageStore.queryMessage): a unique key or one of
// the keys with indexType "", "K" or "U", tags with "T". At most max records, and not more than maxMsgsNumBatch, the newest.
//
// The index knows hashes only; records with another key of the same hash are left out here, where Java leaves that to clients.
func (s *Store) Query(topic, key, indexType string, max int, begin, end int64) (QueryResult, error) {
	res := QueryResult{Release: func() {}}
	o := s.options()
	if s.index == nil || !o.IndexFileReadEnable {
		return res, nil
	}
	hash := keyHash(topic)
	if indexType == indexTags {
		hash = tagsHash(hash)
	}
	hash = record.HashMore(hash, key)
	most := min(max, o.MaxMsgsNumBatch)
	var held []*mappedFile
	for range queryRounds {
		hits, err := s.index.query(hash, most, begin, end)
		if err != nil || len(hits.phys) == 0 {
			return res, err
		}
		res.LastUpdateTime, res.LastUpdatePhys = hits.lastTime, hits.lastPhys
		slices.Sort(hits.phys)
		for i, phys := range slices.Compact(hits.phys) {
			f, rec, err := s.view(phys)
			if err != nil {
				continue // gone, or an index ahead of its log
			}
			at, match := matchKey(f, rec, topic, key, indexType)
			if i == 0 && at > 0 {
				end = at
			}
			if !match {
				f.release()
				continue
			}
			held = append(held, f)
			res.Records = append(res.Records, rec)
		}
		if len(res.Records) > 0 || end < begin {
			break
		}
		// Nothing of what the index named can be read: what is older may.
	}
	if len(held) > 0 {
		res.Release = sync.OnceFunc(func() {
			for _, f := range held {
				f.release()
			}
		})
	}
	return res, nil
}

// matchKey tells whether a record has the key, and its store time.
func matchKey(f *mappedFile, rec []byte, topic, key, indexType string) (storeTime int64, ok bool) {
	storeTime = math.MinInt64
	err := f.guard(func() error {
		var h record.Header
		if err := record.Parse(rec, &h); err != nil {
			return err
		}
		storeTime = h.StoreTimestamp
		if string(h.Topic) != topic {
			return nil
		}
		words := record.ReadWords(stringView(h.Properties))
		if indexType == indexTags {
			ok = words.Tags == key
			return nil
		}
		ok = words.Uniq == key || hasWord(words.Keys, key)
		return nil
	})
	return storeTime, ok && err == nil
}

// hasWord tells whether one of the words that blanks separate is the key.
func hasWord(keys, key string) bool {
	for len(keys) >= len(key) && len(key) > 0 {
		word := keys
		if i := strings.IndexByte(keys, ' '); i >= 0 {
			word, keys = keys[:i], keys[i+1:]
		} else {
			keys = ""
		}
		if word == key {
			return true
		}
	}
	return false
}
