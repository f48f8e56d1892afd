package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// mappingFile is its name below config (BrokerPathConfigHelper.getTopicQueueMappingPath).
const mappingFile = "topicQueueMapping.json"

// StaticTopics are the topics of which a Java broker has mapped logical queues to queues of brokers (TopicQueueMappingManager). Nothing is
// written here: the file stays for the broker that it belongs to.
func StaticTopics(fsys vfs.FS, dir string) ([]string, error) {
	name := path.Join(ConfigDir(dir), mappingFile)
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var w body.TopicQueueMappingSerializeWrapper
	if err == nil {
		err = fastjson.Unmarshal(text, &w)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return slices.Sorted(maps.Keys(w.TopicQueueMappingInfoMap)), nil
}
