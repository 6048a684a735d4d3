package session

import (
	"maps"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits of an update mask.
const (
	maxMaskPaths = 1000
)

// Mask says which fields of a session an update changes. The zero Mask, like a nil one, names none: the fields that the
// request gives are changed. A Mask is never changed after ParseMask returned it.
type Mask struct {
	scope   maskScope
	fields  Fields     // named whole, for scopeNamed
	options []maskPath // sorted; none is inside another, and none is left if fields has options
	labels  []maskPath // likewise
}

type maskScope uint8

const (
	scopeGiven maskScope = iota // no mask
	scopeNamed                  // the paths
	scopeAll                    // "*"
)

// maskPath leads to a member of options or labels.
type maskPath struct {
	text string // as the request has it
	keys []string
}

// mutableFields has the names of the fields in the order of their bits in Fields.
var mutableFields = []string{
	"profile", "displayName", "sessionType", "owners", "defaultChannels", "description",
	"allowedUsers", "blockedUsers", "options", "labels", "secretKey",
}

var immutableFields = []string{"name", "sessionId", "uid"}

var readOnlyFields = []string{
	"etag", "creator", "hasSecretKey", "headSequence", "memberCount", "lastMessageTime",
	"expireTime", "createTime", "updateTime",
}

// SplitMask divides an update mask in its text form at the commas that are not within backticks. The empty text has no
// paths. Past the limit of ParseMask the rest is left in one piece.
func SplitMask(text string) []string {
	if text == "" {
		return nil
	}
	var paths []string
	start, quoted := 0, false
	for i := 0; i < len(text) && len(paths) < maxMaskPaths; i++ {
		switch {
		case text[i] == '`':
			quoted = !quoted
		case text[i] == ',' && !quoted:
			paths = append(paths, text[start:i])
			start = i + 1
		}
	}
	return append(paths, text[start:])
}

// ParseMask reads the paths of an update mask. No paths give the zero Mask; "*" stands alone.
//
// A path is a field in camelCase or snake_case, or one of options and labels with keys after it, each after a dot and
// as it is in the JSON. A key with a dot, a comma or a backtick in it stands in backticks, a backtick being doubled; any
// other key may (AIP-161). When one path is inside another, the wider is what counts. A path into options has at most
// MaxOptionsDepth keys.
//
// The fault of a bad mask is InvalidArgument, with a violation at updateMask for each bad path.
func ParseMask(paths []string) (*Mask, error) {
	mask := &Mask{}
	if len(paths) == 0 {
		return mask, nil
	}
	if len(paths) == 1 && paths[0] == "*" {
		mask.scope = scopeAll
		return mask, nil
	}
	if len(paths) > maxMaskPaths {
		return nil, fault.Invalid("updateMask", "must be at most %d paths", maxMaskPaths)
	}
	violations := fault.Violations(nil)
	mask.scope = scopeNamed
	for _, text := range paths {
		if flaw := mask.add(text); flaw != "" {
			report(&violations, "updateMask", "%s %s", `"`+fault.Shown(text)+`"`, flaw)
		}
	}
	mask.options = widest(mask.options, mask.fields.Has(FieldOptions))
	mask.labels = widest(mask.labels, mask.fields.Has(FieldLabels))
	if err := violations.Err(); err != nil {
		return nil, err
	}
	return mask, nil
}

// add puts a path into the mask, or says what is wrong with it.
func (m *Mask) add(text string) (flaw string) {
	if text == "*" {
		return "must be the only path"
	}
	keys, flaw := splitPath(text)
	if flaw != "" {
		return flaw
	}
	field, flaw := mutableField(keys[0])
	if flaw != "" {
		return flaw
	}
	if len(keys) == 1 {
		m.fields |= field
		return ""
	}
	return m.addPart(field, maskPath{text: text, keys: keys[1:]})
}

// addPart does the same for a path into the field.
func (m *Mask) addPart(field Fields, path maskPath) (flaw string) {
	switch {
	case field == FieldOptions && len(path.keys) <= MaxOptionsDepth:
		m.options = append(m.options, path)
	case field == FieldOptions:
		return "is too deep"
	case field == FieldLabels && len(path.keys) == 1:
		m.labels = append(m.labels, path)
	case field == FieldLabels:
		return "goes into a label: a key with dots in it stands in backticks"
	default:
		return "goes into a field that can only be named whole"
	}
	return ""
}

// mutableField is the field of the name, or what is wrong with naming it.
func mutableField(name string) (field Fields, flaw string) {
	name = CamelCase(name)
	if bit := slices.Index(mutableFields, name); bit >= 0 {
		return 1 << bit, ""
	}
	switch {
	case slices.Contains(immutableFields, name):
		return 0, "cannot be changed"
	case slices.Contains(readOnlyFields, name):
		return 0, "is read-only"
	}
	return 0, "is not a field of a session"
}

// CamelCase turns a name in snake_case into camelCase, and leaves others as they are.
func CamelCase(name string) string {
	if strings.IndexByte(name, '_') < 0 || name != strings.ToLower(name) {
		return name
	}
	camel := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '_' && i+1 < len(name) && 'a' <= name[i+1] && name[i+1] <= 'z' {
			i++
			camel = append(camel, name[i]-'a'+'A')
			continue
		}
		camel = append(camel, name[i])
	}
	return string(camel)
}

// splitPath divides a path into its names, or says what is wrong with it. It stops at a path that is too deep.
func splitPath(text string) (keys []string, flaw string) {
	if flaw := textFlaw(text); flaw != "" {
		return nil, flaw
	}
	for rest := text; ; {
		key, tail, flaw := cutKey(rest)
		if flaw != "" {
			return nil, flaw
		}
		keys = append(keys, key)
		if tail == "" || len(keys) > 1+MaxOptionsDepth {
			return keys, ""
		}
		if tail[0] != '.' {
			return nil, "must have its backticks around whole keys, and commas and dots of keys within them"
		}
		rest = tail[1:]
	}
}

// cutKey cuts the first name off a path.
func cutKey(path string) (key, tail, flaw string) {
	if quoted, ok := strings.CutPrefix(path, "`"); ok {
		return cutQuoted(quoted)
	}
	end := strings.IndexAny(path, ".,`")
	if end < 0 {
		end = len(path)
	}
	if end == 0 {
		return "", "", "must not have an empty name"
	}
	return path[:end], path[end:], ""
}

func cutQuoted(path string) (key, tail, flaw string) {
	var whole []byte
	for {
		part, rest, closed := strings.Cut(path, "`")
		if !closed {
			return "", "", "must close its backticks"
		}
		whole = append(whole, part...)
		if !strings.HasPrefix(rest, "`") {
			return string(whole), rest, ""
		}
		whole = append(whole, '`')
		path = rest[1:]
	}
}

// widest sorts the paths and drops those that are inside another. None is left if the field is named whole.
func widest(paths []maskPath, whole bool) []maskPath {
	if whole {
		return nil
	}
	slices.SortStableFunc(paths, func(a, b maskPath) int { return slices.Compare(a.keys, b.keys) })
	kept := paths[:0]
	for _, path := range paths {
		if len(kept) == 0 || !hasPrefix(path.keys, kept[len(kept)-1].keys) {
			kept = append(kept, path)
		}
	}
	return kept
}

func hasPrefix(keys, prefix []string) bool {
	return len(keys) >= len(prefix) && slices.Equal(keys[:len(prefix)], prefix)
}

// String is the mask in one form of all those that mean the same. The zero Mask's is empty.
func (m *Mask) String() string {
	if m == nil || m.scope == scopeGiven {
		return ""
	}
	if m.scope == scopeAll {
		return "*"
	}
	var paths []string
	for bit, name := range mutableFields {
		if m.fields.Has(1 << bit) {
			paths = append(paths, name)
		}
	}
	for _, path := range m.options {
		paths = append(paths, "options"+quotedKeys(path.keys))
	}
	for _, path := range m.labels {
		paths = append(paths, "labels"+quotedKeys(path.keys))
	}
	return strings.Join(paths, ",")
}

func quotedKeys(keys []string) string {
	var text strings.Builder
	for _, key := range keys {
		text.WriteString(".`" + strings.ReplaceAll(key, "`", "``") + "`")
	}
	return text.String()
}

// Apply returns the current Spec with what the mask names as the draft has it, and whether the secretKey is to be the
// draft's: an empty one removes it. Neither argument is changed; the result shares memory with both. It still has to be
// validated: a mask may clear what is required.
//
// No mask stands for the fields in draft.Given. "*" is every mutable field, and the secretKey only if the draft gives it.
// Below options and labels, what the draft lacks is removed, objects that lead to a new member are made, and the order
// and the bytes of everything else are kept. A value that a path leads through must be an object, in the session and
// in the draft; if it is not, the fault is InvalidArgument at updateMask.
func (m *Mask) Apply(current *Spec, draft *Draft) (merged Spec, secretChanges bool, err error) {
	fields := m.fieldsOf(draft)
	merged = *current
	merged.take(fields, &draft.Spec)
	if m == nil || m.scope != scopeNamed {
		return merged, fields.Has(FieldSecretKey), nil
	}
	if len(m.labels) > 0 {
		merged.Labels = mergeLabels(current.Labels, draft.Labels, m.labels)
	}
	if len(m.options) > 0 {
		merged.Options, err = mergeOptions(current.Options, draft.Options, m.options)
	}
	if err != nil {
		return Spec{}, false, err
	}
	return merged, fields.Has(FieldSecretKey), nil
}

// fieldsOf is the set of the fields that are replaced whole.
func (m *Mask) fieldsOf(draft *Draft) Fields {
	switch {
	case m == nil || m.scope == scopeGiven:
		return draft.Given
	case m.scope == scopeAll:
		return AllFields | draft.Given&FieldSecretKey
	}
	return m.fields
}

// take copies the fields from other.
func (s *Spec) take(fields Fields, other *Spec) {
	takeField(&s.Profile, other.Profile, fields, FieldProfile)
	takeField(&s.DisplayName, other.DisplayName, fields, FieldDisplayName)
	takeField(&s.Type, other.Type, fields, FieldType)
	takeField(&s.Owners, other.Owners, fields, FieldOwners)
	takeField(&s.DefaultChannels, other.DefaultChannels, fields, FieldDefaultChannels)
	takeField(&s.Description, other.Description, fields, FieldDescription)
	takeField(&s.AllowedUsers, other.AllowedUsers, fields, FieldAllowedUsers)
	takeField(&s.BlockedUsers, other.BlockedUsers, fields, FieldBlockedUsers)
	takeField(&s.Options, other.Options, fields, FieldOptions)
	takeField(&s.Labels, other.Labels, fields, FieldLabels)
}

func takeField[T any](to *T, from T, fields, field Fields) {
	if fields.Has(field) {
		*to = from
	}
}

func mergeLabels(current, given map[string]string, paths []maskPath) map[string]string {
	merged := make(map[string]string, len(current)+len(paths))
	maps.Copy(merged, current)
	for _, path := range paths {
		key := path.keys[0]
		if value, ok := given[key]; ok {
			merged[key] = value
		} else {
			delete(merged, key)
		}
	}
	return merged
}
