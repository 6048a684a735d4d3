package session

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
)

// maxViolations is how much one answer says is wrong with a request. What is beyond is left out.
const maxViolations = 100

// validate adds to v each rule that the Spec breaks, and returns the settings that are in its options.
//
// A list that is too long is looked at as far as its limit; of too many labels only the number is reported.
func (s *Spec) validate(v *fault.Violations) Settings {
	s.checkTexts(v)
	s.checkType(v)
	if len(s.Owners) == 0 {
		report(v, "owners", "is required")
	}
	checkUsers("owners", s.Owners, MaxOwners, v)
	checkChannels(s.DefaultChannels, v)
	checkUsers("allowedUsers", s.AllowedUsers, MaxUsers, v)
	checkUsers("blockedUsers", s.BlockedUsers, MaxUsers, v)
	checkLabels(s.Labels, v)
	return s.checkOptions(v)
}

// validateSecretKey checks a secretKey that is to be set.
func validateSecretKey(secret string, v *fault.Violations) {
	if len(secret) < MinSecretKeyBytes || len(secret) > MaxSecretKeyBytes {
		report(v, "secretKey", "must be %d to %d bytes", MinSecretKeyBytes, MaxSecretKeyBytes)
	}
	checkFlaw(v, "secretKey", textFlaw(secret))
}

func (s *Spec) checkTexts(v *fault.Violations) {
	switch {
	case s.Profile == "":
		report(v, "profile", "is required")
	case len(s.Profile) > MaxProfileBytes:
		report(v, "profile", "must be at most %d bytes", MaxProfileBytes)
	}
	checkFlaw(v, "profile", lineFlaw(s.Profile))

	switch {
	case s.DisplayName == "":
		report(v, "displayName", "is required")
	case longer(s.DisplayName, MaxDisplayNameCharacters):
		report(v, "displayName", "must be at most %d characters", MaxDisplayNameCharacters)
	}
	checkFlaw(v, "displayName", lineFlaw(s.DisplayName))

	if longer(s.Description, MaxDescriptionCharacters) {
		report(v, "description", "must be at most %d characters", MaxDescriptionCharacters)
	}
	checkFlaw(v, "description", textFlaw(s.Description))
}

func (s *Spec) checkType(v *fault.Violations) {
	switch s.Type {
	case Public, Private, Temporary:
	case TypeUnspecified:
		report(v, "sessionType", "is required")
	default:
		report(v, "sessionType", "must be 1 (PUBLIC), 2 (PRIVATE) or 3 (TEMPORARY)")
	}
}

func (s *Spec) checkOptions(v *fault.Violations) Settings {
	if len(s.Options) > MaxOptionsBytes {
		report(v, "options", "must be at most %d bytes as compact JSON", MaxOptionsBytes)
	}
	if deeper(s.Options, MaxOptionsDepth) {
		report(v, "options", "must be at most %d levels deep", MaxOptionsDepth)
	}
	return ParseSettings(s.Options, v)
}

func checkUsers(field string, users []string, most int, v *fault.Violations) {
	if len(users) > most {
		report(v, field, "must be at most %d users", most)
		users = users[:most]
	}
	for i, user := range users {
		if user == "" || len(user) > MaxUserBytes {
			report(v, elementPath(field, i), "must be 1 to %d bytes", MaxUserBytes)
		}
		if flaw := lineFlaw(user); flaw != "" {
			report(v, elementPath(field, i), "%s", flaw)
		}
	}
	checkDistinct(field, users, v)
}

// fewUsers is how many users are faster to compare each with each than to hash.
const fewUsers = 12

// checkDistinct reports each user who is in the list before. There are at most MaxUsers of them.
func checkDistinct(field string, users []string, v *fault.Violations) {
	if len(users) > fewUsers {
		checkManyDistinct(field, users, v)
		return
	}
	for i, user := range users {
		if slices.Contains(users[:i], user) {
			report(v, elementPath(field, i), repeatRule)
		}
	}
}

const repeatRule = "must not repeat an earlier one"

// checkManyDistinct does the same by a hash table on the stack. The seed is new each time, so that nobody can choose
// users that collide.
func checkManyDistinct(field string, users []string, v *fault.Violations) {
	var table [2 * MaxUsers]uint16 // 1 + the place in users; 0: free
	seed := maphash.MakeSeed()
	for i, user := range users {
		slot := maphash.String(seed, user) % uint64(len(table))
		for table[slot] != 0 && users[table[slot]-1] != user {
			slot = (slot + 1) % uint64(len(table))
		}
		if table[slot] != 0 {
			report(v, elementPath(field, i), repeatRule)
			continue
		}
		table[slot] = uint16(i + 1)
	}
}

func checkChannels(channels []int32, v *fault.Violations) {
	const field = "defaultChannels"
	if len(channels) == 0 {
		report(v, field, "is required")
	}
	checkSomeChannels(field, channels, v)
}

// checkSomeChannels checks channels of which there may be none.
func checkSomeChannels(field string, channels []int32, v *fault.Violations) {
	if len(channels) > MaxChannels {
		report(v, field, "must be at most %d channels", MaxChannels)
		channels = channels[:MaxChannels]
	}
	for i, channel := range channels {
		if channel <= 0 {
			report(v, elementPath(field, i), "must be positive")
		}
		if slices.Contains(channels[:i], channel) {
			report(v, elementPath(field, i), repeatRule)
		}
	}
}

func checkLabels(labels map[string]string, v *fault.Violations) {
	if len(labels) > MaxLabels {
		report(v, "labels", "must be at most %d labels", MaxLabels)
		return
	}
	flawed := 0
	for key, value := range labels {
		if labelKeyFlaw(key) != "" || labelValueFlaw(value) != "" {
			flawed++
		}
	}
	if flawed == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		checkFlaw(v, memberPath("labels", key), labelKeyFlaw(key))
		checkFlaw(v, memberPath("labels", key), labelValueFlaw(labels[key]))
	}
}

func labelKeyFlaw(key string) string {
	if key == "" || len(key) > MaxLabelKeyBytes {
		return "must have a key of 1 to " + strconv.Itoa(MaxLabelKeyBytes) + " bytes"
	}
	if flaw := textFlaw(key); flaw != "" {
		return "must have a key that is valid UTF-8 and has no NUL"
	}
	return ""
}

func labelValueFlaw(value string) string {
	if len(value) > MaxLabelValueBytes {
		return "must be at most " + strconv.Itoa(MaxLabelValueBytes) + " bytes"
	}
	return textFlaw(value)
}

// longer tells whether the text has more than so many characters.
func longer(text string, characters int) bool {
	return len(text) > characters && utf8.RuneCountInString(text) > characters
}

// lineFlaw is the rule for texts of one line that this one breaks; empty: none.
func lineFlaw(text string) string {
	if isPrintableASCII(text) {
		return ""
	}
	if flaw := textFlaw(text); flaw != "" {
		return flaw
	}
	if strings.IndexFunc(text, unicode.IsControl) >= 0 { // C0, DEL and C1
		return "must not have control characters"
	}
	return ""
}

// textFlaw is the rule for texts that this one breaks; empty: none.
func textFlaw(text string) string {
	if !utf8.ValidString(text) {
		return "must be valid UTF-8"
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "must not have NUL characters"
	}
	return ""
}

func isPrintableASCII(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// report adds to v that the rule, made as by fmt.Sprintf, does not hold at the field: once, and unless v has enough.
func report(v *fault.Violations, field, rule string, args ...any) {
	if len(*v) >= maxViolations {
		return
	}
	violation := fault.Violation{Field: field, Description: fmt.Sprintf(rule, args...)}
	if !slices.Contains(*v, violation) {
		*v = append(*v, violation)
	}
}

// checkFlaw reports the flaw, if there is one.
func checkFlaw(v *fault.Violations, field, flaw string) {
	if flaw != "" {
		report(v, field, "%s", flaw)
	}
}

// elementPath is the path of an element of a list: owners[3].
func elementPath(list string, index int) string { return list + "[" + strconv.Itoa(index) + "]" }

// maxPathKeyBytes is how much of a key is shown in a path.
const maxPathKeyBytes = 64

// memberPath is the path of a member of a map: labels.tenant, or labels["a b"] if the key is not made of ASCII letters,
// digits, underscores and hyphens alone. A quoted key is in ASCII, and cut after 64 bytes.
func memberPath(parent, key string) string {
	plain := key != "" && len(key) <= maxPathKeyBytes
	for i := 0; plain && i < len(key); i++ {
		plain = isAlphanumeric(key[i]) || key[i] == '_' || key[i] == '-'
	}
	if plain {
		return parent + "." + key
	}
	if len(key) > maxPathKeyBytes {
		key = strings.ToValidUTF8(key[:maxPathKeyBytes], "") + "..."
	}
	return parent + "[" + strconv.QuoteToASCII(key) + "]"
}
