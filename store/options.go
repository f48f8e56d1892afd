package store

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"

	"apogee/internal/clock"
	"apogee/store/vfs"
)

// FlushDiskType is flushDiskType: when a put counts as done.
type FlushDiskType string

const (
	AsyncFlush FlushDiskType = "ASYNC_FLUSH" // in the page cache
	SyncFlush  FlushDiskType = "SYNC_FLUSH"  // on disk
)

// UnmarshalText accepts the two names.
func (t *FlushDiskType) UnmarshalText(b []byte) error {
	switch v := FlushDiskType(b); v {
	case AsyncFlush, SyncFlush:
		*t = v
		return nil
	default:
		return fmt.Errorf("allowed are %s and %s", AsyncFlush, SyncFlush)
	}
}

// Role is brokerRole.
type Role string

// The roles. Slaves need replication, which Apogee does not have yet.
const (
	AsyncMaster Role = "ASYNC_MASTER"
	SyncMaster  Role = "SYNC_MASTER"
	Slave       Role = "SLAVE"
)

// UnmarshalText accepts the three names.
func (r *Role) UnmarshalText(b []byte) error {
	switch v := Role(b); v {
	case AsyncMaster, SyncMaster, Slave:
		*r = v
		return nil
	default:
		return fmt.Errorf("allowed are %s, %s and %s", AsyncMaster, SyncMaster, Slave)
	}
}

// Options configure a store. The prop tags are Java's keys (MessageStoreConfig, spec: config-keys.tsv), the default tags its
// defaults; compat/properties reads both. Fields tagged hot follow [Store.Reconfigure], the others are read at Open.
//
// Open takes the default for every number and string that is zero. Switches are taken as they are: start from [Defaults].
type Options struct {
	FS       vfs.FS           `prop:"-"` // nil is vfs.OS()
	Now      func() time.Time `prop:"-"` // nil is the machine's clock
	Log      *slog.Logger     `prop:"-"` // nil discards
	OnArrive func([]Arrival)  `prop:"-"` // in order, in batches; called by whoever made the messages readable, often a put: must not block
	Replicas Replicas         `prop:"-"` // nil: nobody waits for replicas
	// QueueKind tells what a topic's queues are made of, from its attributes; nil: all are simple. It is asked once for a queue.
	QueueKind func(topic string) QueueKind `prop:"-"`
	// Memory is the machine's physical memory in bytes: messages within accessMessageInMemoryMaxRatio percent of it from the
	// end of the log count as in memory. 0 asks the operating system.
	Memory int64 `prop:"-"`

	RootDir       string `prop:"storePathRootDir"`
	CommitLogDir  string `prop:"storePathCommitLog"`          // empty is RootDir/commitlog
	ReadOnlyPaths string `prop:"readOnlyCommitLogStorePaths"` // refused: several commit-log directories are not supported

	BrokerRole    Role          `prop:"brokerRole" default:"ASYNC_MASTER"`
	FlushDiskType FlushDiskType `prop:"flushDiskType" default:"ASYNC_FLUSH" hot:"true"`

	// Commit log.
	MappedFileSizeCommitLog     int64 `prop:"mappedFileSizeCommitLog" default:"1073741824"`
	MaxMessageSize              int   `prop:"maxMessageSize" default:"4194304" hot:"true"`
	AppendPropCRC               bool  `prop:"enabledAppendPropCRC" default:"false"`
	ForceVerifyPropCRC          bool  `prop:"forceVerifyPropCRC" default:"false"`
	FlushIntervalCommitLogMs    int64 `prop:"flushIntervalCommitLog" default:"500" hot:"true"`
	WakeFlushWhenPut            bool  `prop:"wakeFlushWhenPutMessage" default:"false" hot:"true"`
	SyncFlushTimeoutMs          int64 `prop:"syncFlushTimeout" default:"5000" hot:"true"`
	OSPageCacheBusyTimeoutMs    int64 `prop:"osPageCacheBusyTimeOutMills" default:"1000" hot:"true"`
	CheckCRCOnRecover           bool  `prop:"checkCRCOnRecover" default:"true"`
	CheckOffsetOnRecover        bool  `prop:"checkCommitLogOffsetOnRecover" default:"false"`
	MessageIndexSafe            bool  `prop:"messageIndexSafe" default:"false"`
	DuplicationEnable           bool  `prop:"duplicationEnable" default:"false"` // refused: belongs to replication by copying
	EnableLmq                   bool  `prop:"enableLmq" default:"false"`
	EnableMultiDispatch         bool  `prop:"enableMultiDispatch" default:"false"`
	EnableLmqQuota              bool  `prop:"enableLmqQuota" default:"false" hot:"true"`
	MaxLmqConsumeQueueNum       int   `prop:"maxLmqConsumeQueueNum" default:"20000" hot:"true"`
	ReadUncommitted             bool  `prop:"readUnCommitted" default:"false"`
	MaxTopicLength              int   `prop:"maxTopicLength" default:"127"`
	FlushCommitLogThoroughMs    int64 `prop:"flushCommitLogThoroughInterval" default:"10000" hot:"true"`
	FlushConsumeQueueThoroughMs int64 `prop:"flushConsumeQueueThoroughInterval" default:"60000" hot:"true"`
	FlushIntervalConsumeQueueMs int64 `prop:"flushIntervalConsumeQueue" default:"1000" hot:"true"`

	// Consume queues, index, reads.
	MappedFileSizeConsumeQueue      int64  `prop:"mappedFileSizeConsumeQueue" default:"6000000"`
	MapperFileSizeBatchConsumeQueue int64  `prop:"mapperFileSizeBatchConsumeQueue" default:"13800000"`
	MessageDelayLevel               string `prop:"messageDelayLevel" default:"1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"`
	MessageIndexEnable              bool   `prop:"messageIndexEnable" default:"true"`
	IndexFileWriteEnable            bool   `prop:"indexFileWriteEnable" default:"true"`
	IndexFileReadEnable             bool   `prop:"indexFileReadEnable" default:"true"`
	MaxHashSlotNum                  int32  `prop:"maxHashSlotNum" default:"5000000"`
	MaxIndexNum                     int32  `prop:"maxIndexNum" default:"20000000"`
	MaxMsgsNumBatch                 int    `prop:"maxMsgsNumBatch" default:"64" hot:"true"`
	MaxTransferBytesInMemory        int32  `prop:"maxTransferBytesOnMessageInMemory" default:"262144" hot:"true"`
	MaxTransferCountInMemory        int32  `prop:"maxTransferCountOnMessageInMemory" default:"32" hot:"true"`
	MaxTransferBytesInDisk          int32  `prop:"maxTransferBytesOnMessageInDisk" default:"65536" hot:"true"`
	MaxTransferCountInDisk          int32  `prop:"maxTransferCountOnMessageInDisk" default:"8" hot:"true"`
	AccessMessageInMemoryMaxRatio   int    `prop:"accessMessageInMemoryMaxRatio" default:"40" hot:"true"`
	MaxFilterMessageSize            int    `prop:"maxFilterMessageSize" default:"16000" hot:"true"`
	TravelCQFileNumWhenGetMessage   int    `prop:"travelCqFileNumWhenGetMessage" default:"1" hot:"true"`
	OffsetCheckInSlave              bool   `prop:"offsetCheckInSlave" default:"false" hot:"true"`

	// Compaction topics.
	EnableCompaction           bool  `prop:"enableCompaction" default:"true"`
	CompactionMappedFileSize   int64 `prop:"compactionMappedFileSize" default:"104857600"`
	CompactionCqMappedFileSize int64 `prop:"compactionCqMappedFileSize" default:"10485760"`
	CompactionScheduleInternal int64 `prop:"compactionScheduleInternal" default:"900000"`
	MaxOffsetMapSize           int64 `prop:"maxOffsetMapSize" default:"104857600"`

	// Cleaning.
	CleanResourceIntervalMs       int64   `prop:"cleanResourceInterval" default:"10000"`
	DeleteCommitLogFilesEveryMs   int64   `prop:"deleteCommitLogFilesInterval" default:"100" hot:"true"`
	DeleteFileBatchMax            int     `prop:"deleteFileBatchMax" default:"10" hot:"true"`
	DeleteWhen                    string  `prop:"deleteWhen" default:"04" hot:"true"`
	FileReservedTimeHours         int64   `prop:"fileReservedTime" default:"72" hot:"true"`
	DiskMaxUsedSpaceRatio         int     `prop:"diskMaxUsedSpaceRatio" default:"75" hot:"true"`
	DiskSpaceWarningLevelRatio    int     `prop:"diskSpaceWarningLevelRatio" default:"90" hot:"true"`
	DiskSpaceCleanForciblyRatio   int     `prop:"diskSpaceCleanForciblyRatio" default:"85" hot:"true"`
	CleanFileForciblyEnable       bool    `prop:"cleanFileForciblyEnable" default:"true" hot:"true"`
	ReplicasPerDiskPartition      int     `prop:"replicasPerDiskPartition" default:"1" hot:"true"`
	LogicalDiskSpaceCleanForcibly float64 `prop:"logicalDiskSpaceCleanForciblyThreshold" default:"0.8" hot:"true"`

	// Whole says that every field is meant as it is; otherwise a zero stands for the default. (fileReservedTime=0 deletes at once.)
	Whole bool `prop:"-"`
}

// memoryUnknown is what is assumed where the system does not tell.
const memoryUnknown = 8 << 30

// Defaults is the options of an empty configuration file.
func Defaults() Options {
	var o Options
	o.fill(true)
	o.Whole = true
	return o
}

// fill sets fields from their default tags: those that are zero, or all of them. Switches have no value that says "not set",
// so they are only touched with all.
func (o *Options) fill(all bool) {
	if o.Whole {
		return
	}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		def, ok := v.Type().Field(i).Tag.Lookup("default")
		f := v.Field(i)
		if !ok || !all && (!f.IsZero() || f.Kind() == reflect.Bool) {
			continue
		}
		if err := setField(f, def); err != nil {
			panic(fmt.Sprintf("default of %s: %v", v.Type().Field(i).Name, err)) // a mistake in the tags above; a test reads them all
		}
	}
}

func setField(f reflect.Value, text string) error {
	if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		f.SetBool(b)
		return err
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		f.SetFloat(x)
		return err
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		f.SetInt(n)
		return err
	}
	return nil
}

// prepared is the options as the store uses them, or what is wrong with them, named by key.
func (o Options) prepared() (Options, error) {
	o.fill(false)
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Now == nil {
		o.Now = clock.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.RootDir == "" {
		return o, errors.New("storePathRootDir is not set")
	}
	if o.CommitLogDir == "" {
		o.CommitLogDir = path.Join(o.RootDir, "commitlog")
	}
	if o.Memory == 0 {
		o.Memory = physicalMemory()
	}
	// The getter rounds up to whole entries (spec: store.md 1).
	o.MappedFileSizeConsumeQueue = (o.MappedFileSizeConsumeQueue + 19) / 20 * 20
	o.MapperFileSizeBatchConsumeQueue = (o.MapperFileSizeBatchConsumeQueue + batchUnitSize - 1) / batchUnitSize * batchUnitSize
	return o, o.check()
}

func (o *Options) check() error {
	if strings.Contains(o.CommitLogDir, ",") {
		return fmt.Errorf("storePathCommitLog=%s: several commit-log directories are not supported", o.CommitLogDir)
	}
	if o.ReadOnlyPaths != "" {
		return fmt.Errorf("readOnlyCommitLogStorePaths=%s: several commit-log directories are not supported", o.ReadOnlyPaths)
	}
	if o.DuplicationEnable {
		return errors.New("duplicationEnable=true is not supported")
	}
	for _, p := range []struct {
		key   string
		value int64
		min   int64
	}{
		{"mappedFileSizeCommitLog", o.MappedFileSizeCommitLog, vfs.PageSize},
		{"mappedFileSizeConsumeQueue", o.MappedFileSizeConsumeQueue, 20},
		{"mapperFileSizeBatchConsumeQueue", o.MapperFileSizeBatchConsumeQueue, batchUnitSize},
		{"maxMessageSize", int64(o.MaxMessageSize), 1},
		{"maxHashSlotNum", int64(o.MaxHashSlotNum), 1},
		{"maxIndexNum", int64(o.MaxIndexNum), 2},
		{"flushIntervalCommitLog", o.FlushIntervalCommitLogMs, 1},
		{"flushIntervalConsumeQueue", o.FlushIntervalConsumeQueueMs, 1},
		{"cleanResourceInterval", o.CleanResourceIntervalMs, 1},
		{"compactionScheduleInternal", o.CompactionScheduleInternal, 1},
	} {
		if p.value < p.min {
			return fmt.Errorf("%s=%d: must be at least %d", p.key, p.value, p.min)
		}
	}
	if o.MappedFileSizeCommitLog > 1<<31-1 { // the end-of-file mark holds the rest of the file in 31 bits
		return fmt.Errorf("mappedFileSizeCommitLog=%d: must be below 2 GiB", o.MappedFileSizeCommitLog)
	}
	return nil
}

// withHot is o with the fields tagged hot taken from n.
func (o Options) withHot(n Options) Options {
	n.fill(false)
	to, from := reflect.ValueOf(&o).Elem(), reflect.ValueOf(&n).Elem()
	for i := range to.NumField() {
		if to.Type().Field(i).Tag.Get("hot") == "true" {
			to.Field(i).Set(from.Field(i))
		}
	}
	return o
}
