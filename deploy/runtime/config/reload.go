package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// content reads a secret file. What was read while the configuration was loaded stays as it
// was: what a role resolves later is what was checked then.
func (c *Config) content(path string) ([]byte, error) {
	if data, ok := c.contents[path]; ok {
		return data, nil
	}
	data, err := readBounded(path)
	if err == nil && c.loading {
		c.contents[path] = data
	}
	return data, err
}

// Again loads the same file, as it is now, for the same roles. The error is Problems.
func (c *Config) Again() (*Config, error) { return Load(c.name, c.env, c.providers, c.roles...) }

// Changed reports whether the file, or a secret file that a role of c has read, cannot be
// read now or has another content than when c was loaded. Files are compared by content,
// because a modification time is too coarse, and because Kubernetes replaces a directory
// above them by a symbolic link (..data). The files of gateway.tls do not count: the server
// reads them again by itself.
func (c *Config) Changed() bool {
	for path, was := range c.contents {
		if now, err := readBounded(path); err != nil || !bytes.Equal(now, was) {
			return true
		}
	}
	return false
}

// Same reports whether both were loaded from files of the same contents.
func (c *Config) Same(other *Config) bool {
	return maps.EqualFunc(c.contents, other.contents, bytes.Equal)
}

// Differences lists the keys whose values are not the same in both, sorted, without any value.
// A secret is compared by its value where its role has read it, else by where it stands.
func (c *Config) Differences(other *Config) []string {
	was, is := map[string]string{}, map[string]string{}
	other.values(reflect.ValueOf(other.file), "", was)
	c.values(reflect.ValueOf(c.file), "", is)
	found := map[string]bool{}
	for path, value := range is {
		if before, ok := was[path]; !ok || before != value {
			found[path] = true
		}
	}
	for path := range was {
		if _, ok := is[path]; !ok {
			found[path] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// values collects the values of all keys by path. The empty sections of a mapping count too:
// an account without settings is an account.
func (c *Config) values(v reflect.Value, path string, into map[string]string) {
	if r, ok := v.Interface().(reference); ok {
		into[path] = c.compared(r)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if key != "" && key != "-" {
				c.values(v.Field(i), strings.TrimPrefix(path+"."+key, "."), into)
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			at := path + "." + key.String()
			into[at] = ""
			c.values(v.MapIndex(key), at, into)
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.values(v.Index(i), fmt.Sprintf("%s[%d]", path, i), into)
		}
	default:
		into[path] = fmt.Sprint(v.Interface())
	}
}

// compared is what a secret is compared by. It reads no file.
func (c *Config) compared(r reference) string {
	if r.file != "" {
		if data, ok := c.contents[c.beside(r.file)]; ok {
			return "value " + strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		}
		return "file " + r.file
	}
	if r.word.variable == "" {
		return "value " + r.word.text
	}
	value, _ := c.expand(r.word)
	return "value " + value
}

// replaceable are the keys that a running role takes over, beside all below providers.
var replaceable = []string{"gateway.limit", "lookup.rate_limit", "expect.http_token", "console.access"}

// Replaces reports why c cannot take the place of another configuration in a running process
// of the role: Problems with each key that the role uses, that differs, and that only a
// restart changes. It is nil if there is none.
func (c *Config) Replaces(other *Config, role string) error {
	k := &checks{Config: c}
	for _, path := range c.Differences(other) {
		if concerns(role, path) && !slices.ContainsFunc(replaceable, func(key string) bool { return below(path, key) }) {
			k.refuse(path, "differs from what the running "+role+" uses, and cannot change while it runs; restart "+role+" to change it")
		}
	}
	return k.problems.orNil()
}

// concerns reports whether a role uses a key that is not below providers: one of its own
// section, or a key that all roles have in common.
func concerns(role, path string) bool {
	switch {
	case below(path, "providers"):
		return false
	case path == "sweep.remove_after" && role == RoleNormalize:
		return true
	}
	for _, other := range []string{RoleGateway, RoleLookup, RoleNormalize, RoleSweep, RoleExpect, RoleConsole} {
		if below(path, other) {
			return other == role
		}
	}
	return true
}

// below reports whether a path is that of the key or of one in it.
func below(path, key string) bool {
	rest, ok := strings.CutPrefix(path, key)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
