package node

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed config.go
var configSource string // the manual is made from its comments

// envPrefix begins the names of all environment variables that are settings.
const envPrefix = "HANSE_"

// Setting is one thing that can be set in Config.
type Setting struct {
	Path    string // in the file, as "federation.dns_server"
	Doc     string // its comment
	Example string
	List    bool
	Switch  bool
	field   []int
}

// Env is the environment variable of the setting.
func (s Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Path, ".", "_"))
}

// Flag is the flag of the setting, without the dashes before it.
func (s Setting) Flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.Path)
}

// Settings lists what can be set, in the order of the manual.
func Settings() []Setting {
	docs := fieldDocs()
	var settings []Setting
	walkFields(reflect.TypeFor[Config](), "", nil, func(path string, index []int, owner reflect.Type, field reflect.StructField) {
		if field.Type.Kind() == reflect.Struct {
			return
		}
		settings = append(settings, Setting{
			Path: path, Doc: docs[owner.Name()+"."+field.Name], Example: field.Tag.Get("example"),
			List: field.Type.Kind() == reflect.Slice, Switch: field.Type.Kind() == reflect.Bool, field: index,
		})
	})
	return settings
}

// walkFields visits every field below a struct, a struct before its own fields.
func walkFields(t reflect.Type, prefix string, index []int, visit func(path string, index []int, owner reflect.Type, field reflect.StructField)) {
	for i := range t.NumField() {
		field := t.Field(i)
		path, at := prefix+field.Tag.Get("yaml"), append(slices.Clone(index), i)
		visit(path, at, t, field)
		if field.Type.Kind() == reflect.Struct {
			walkFields(field.Type, path+".", at, visit)
		}
	}
}

// fieldDocs reads the comments of this package's configuration, by "Type.Field". Every start does: go/parser would leave more of
// itself and of its tree in memory than this.
func fieldDocs() map[string]string {
	docs := map[string]string{}
	var owner string
	var doc []string
	for line := range strings.Lines(configSource) {
		words := strings.Fields(line)
		switch {
		case len(words) > 0 && words[0] == "//":
			doc = append(doc, strings.Join(words[1:], " "))
			continue
		case len(words) > 1 && words[0] == "type":
			owner = words[1]
		case len(words) > 1:
			docs[owner+"."+words[0]] = strings.Join(doc, "\n")
		}
		doc = nil
	}
	return docs
}

// ExampleConfig is a whole configuration file: every setting with its comment, all but server_name commented out.
func ExampleConfig() string {
	var out strings.Builder
	out.WriteString("# Hanse's configuration: every setting with its meaning. Only server_name is needed.\n" +
		"# Each can also be set by environment (HANSE_FEDERATION_DNS_SERVER) and by flag (--federation-dns-server).\n")
	docs := fieldDocs()
	walkFields(reflect.TypeFor[Config](), "", nil, func(path string, _ []int, owner reflect.Type, field reflect.StructField) {
		indent := strings.Repeat("  ", strings.Count(path, "."))
		name, example := field.Tag.Get("yaml"), field.Tag.Get("example")
		if indent == "" {
			out.WriteByte('\n')
		}
		if doc := docs[owner.Name()+"."+field.Name]; doc != "" {
			for line := range strings.SplitSeq(doc, "\n") {
				out.WriteString(indent + "# " + line + "\n")
			}
		}
		switch {
		case field.Type.Kind() == reflect.Struct:
			out.WriteString(indent + name + ":\n")
		case path == "server_name":
			out.WriteString(name + ": " + example + "\n")
		case field.Type.Kind() == reflect.Slice:
			out.WriteString(indent + "# " + name + ": [" + strconv.Quote(example) + "]\n")
		default:
			out.WriteString(indent + "# " + name + ": " + example + "\n")
		}
	})
	return out.String()
}

// Set gives the setting a value from text: a list's entries are separated by commas.
func (s Setting) Set(c *Config, text string) error {
	field := reflect.ValueOf(c).Elem().FieldByIndex(s.field)
	var err error
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Slice:
		var list []string
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		field.Set(reflect.ValueOf(list))
	case reflect.Bool:
		var value bool
		value, err = strconv.ParseBool(text)
		field.SetBool(value)
	case reflect.Float64:
		var value float64
		value, err = strconv.ParseFloat(text, 64)
		field.SetFloat(value)
	case reflect.Int:
		var value int64
		value, err = strconv.ParseInt(text, 10, 32)
		field.SetInt(value)
	default:
		var value uint64
		value, err = strconv.ParseUint(text, 10, field.Type().Bits())
		field.SetUint(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not a %s", s.Path, text, kindWord(field.Kind()))
	}
	return nil
}

func kindWord(kind reflect.Kind) string {
	switch kind {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "number"
	}
	return "whole number in its range"
}

// ReadConfig reads a configuration from YAML. name is the file's name, for errors, which say the line.
func ReadConfig(name string, data []byte) (Config, error) {
	var config Config
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if bytes.Contains(data, []byte("\n\t")) && strings.Contains(text, "cannot start any token") {
			text += "; lines are indented with spaces, not with tabs"
		}
		return config, fmt.Errorf("%s: %s", name, text)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return config, fmt.Errorf("%s: has a second document, from a line --- on; put all settings into one", name)
	}
	if document.IsZero() {
		return config, nil
	}
	if errs := unknownKeys(name, document.Content[0], reflect.TypeFor[Config](), ""); len(errs) > 0 {
		return config, errors.Join(errs...)
	}
	if err := document.Decode(&config); err != nil {
		var typeError *yaml.TypeError
		if errors.As(err, &typeError) {
			for i, text := range typeError.Errors {
				typeError.Errors[i] = wrongType(text)
			}
			err = errors.New(strings.Join(typeError.Errors, "; "))
		}
		return config, fmt.Errorf("%s: %w", name, err)
	}
	return config, nil
}

// typeErrorForm is what the YAML reader says of a value of another type than its key's.
var typeErrorForm = regexp.MustCompile("^(line [0-9]+): cannot unmarshal !!([a-z]+) ?(?:`(.*)` )?into (.*)$")

// wrongType says the same to people who don't know Go.
func wrongType(text string) string {
	parts := typeErrorForm.FindStringSubmatch(text)
	if parts == nil {
		return text
	}
	found, wanted := strconv.Quote(parts[3]), "a number is expected"
	switch parts[2] {
	case "seq":
		found = "a list"
	case "map":
		found = "a key with a colon"
	}
	switch kind := parts[4]; {
	case kind == "string":
		wanted = "a text is expected"
	case kind == "bool":
		wanted = "true or false is expected"
	case strings.HasPrefix(kind, "[]"):
		wanted = "a list is expected, as in [one, two]"
	case strings.Contains(kind, "."):
		wanted = "keys of its own are expected, indented below it"
	case kind == "uint8":
		wanted = "a whole number from 0 to 255 is expected"
	case kind == "uint32":
		wanted = "a whole number from 0 to 4294967295 is expected"
	case kind == "int":
		wanted = "a whole number is expected"
	}
	return parts[1] + ": " + found + " stands where " + wanted
}

// unknownKeys reports every key of a YAML mapping that Config does not have, each with its line and the nearest known key.
func unknownKeys(name string, mapping *yaml.Node, t reflect.Type, prefix string) []error {
	if mapping.Kind != yaml.MappingNode {
		return nil // decoding says what is wrong with it
	}
	var errs []error
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		field, ok := fieldByKey(t, key.Value)
		if !ok {
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %q; %s", name, key.Line, prefix+key.Value, suggestion(key.Value, prefix, t)))
			continue
		}
		if field.Type.Kind() == reflect.Struct {
			errs = append(errs, unknownKeys(name, value, field.Type, prefix+key.Value+".")...)
		}
	}
	return errs
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") == key {
			return t.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

// Misspelt are the environment variables, of those given as NAME=value, that are no settings but nearly, each with the one that is
// probably meant. Others with the same prefix are somebody else's.
func Misspelt(environment []string) map[string]string {
	meant := map[string]string{}
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		best, distance := "", 3
		for _, setting := range Settings() {
			if d := editDistance(name, setting.Env()); d < distance {
				best, distance = setting.Env(), d
			}
		}
		if distance > 0 && best != "" {
			meant[name] = best
		}
	}
	return meant
}

// suggestion names the known key that is nearest to an unknown one: first among its neighbours, then anywhere.
func suggestion(key, prefix string, t reflect.Type) string {
	best, distance := "", 1+max(2, len(key)/2)
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if d := editDistance(key, name); d < distance {
			best, distance = prefix+name, d
		}
	}
	if best == "" {
		for _, setting := range Settings() {
			last := setting.Path[strings.LastIndexByte(setting.Path, '.')+1:]
			if d := min(editDistance(key, last), editDistance(prefix+key, setting.Path)); d < distance {
				best, distance = setting.Path, d
			}
		}
	}
	if best == "" {
		return "`hanse config example` lists all keys"
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance is the least number of inserted, deleted and replaced bytes that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
