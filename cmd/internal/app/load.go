package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// configEnv names the settings file where no --config does.
const configEnv = "WGFLEET_CONFIG"

// Sources are where settings come from.
type Sources struct {
	Environ []string       // KEY=VALUE
	Flags   *pflag.FlagSet // made by AddFlags; nil for none
	Dir     string         // working folder: its .env is read; "" for none
}

// yamlLine finds the place in an error of the YAML parser.
var yamlLine = regexp.MustCompile(` line \d+`)

// raw holds the settings as texts, and where each came from.
type raw struct {
	values map[string]string
	origin map[string]string // the flag, variable or key that gave it; none for a default
}

// AddFlags adds a flag for every setting, and --config.
func AddFlags(f *pflag.FlagSet) {
	f.String("config", "", "YAML file with settings, by the dotted names in brackets [$"+configEnv+"]")
	for _, s := range settings {
		help := s.help + " [$" + s.env + ", " + s.key + "]"
		if s.kind == toggle {
			f.Bool(s.flag, s.def == "true", help)
			continue
		}
		f.String(s.flag, s.def, help)
	}
}

// Load reads the settings from all sources and validates them.
func Load(src Sources) (Settings, error) {
	environ, err := withDotenv(src.Environ, src.Dir)
	if err != nil {
		return Settings{}, err
	}
	r, err := read(environ, src.Flags)
	if err != nil {
		return Settings{}, err
	}
	return r.settings(environ)
}

// withDotenv adds what .env in dir says; a variable that is set is never overridden.
func withDotenv(environ []string, dir string) ([]string, error) {
	if dir == "" {
		return environ, nil
	}
	path := filepath.Join(dir, ".env")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return environ, nil
	case err != nil:
		return nil, fmt.Errorf("read the settings in .env: %w", err)
	}
	out, bad := addDotenv(environ, string(b))
	if bad > 0 {
		return nil, fmt.Errorf("%s line %d is not KEY=VALUE: mend it or make it a comment", path, bad)
	}
	return out, nil
}

// lookup finds a variable; the first of equal names counts, as for getenv(3).
func lookup(environ []string, name string) (string, bool) {
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// read merges the layers: default, file, environment, flags.
func read(environ []string, flags *pflag.FlagSet) (raw, error) {
	k := koanf.New(".")
	r := raw{values: map[string]string{}, origin: map[string]string{}}
	if err := k.Load(defaults(), nil); err != nil {
		return r, fmt.Errorf("defaults: %w", err)
	}
	if path := configPath(environ, flags); path != "" {
		if err := r.loadFile(k, path); err != nil {
			return r, err
		}
	}
	byEnv := env.Provider(".", env.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			i := slices.IndexFunc(settings, func(s setting) bool { return s.env == name })
			if i < 0 {
				return "", nil
			}
			r.origin[settings[i].key] = name
			return settings[i].key, value
		},
	})
	if err := k.Load(byEnv, nil); err != nil {
		return r, fmt.Errorf("environment: %w", err)
	}
	given := map[string]any{}
	for _, s := range settings {
		if flags != nil && flags.Changed(s.flag) {
			given[s.key] = flags.Lookup(s.flag).Value.String()
			r.origin[s.key] = "--" + s.flag
		}
	}
	if err := k.Load(confmap.Provider(given, "."), nil); err != nil {
		return r, fmt.Errorf("flags: %w", err)
	}
	for _, s := range settings {
		r.values[s.key] = k.String(s.key)
	}
	return r, nil
}

func defaults() *confmap.Confmap {
	m := map[string]any{}
	for _, s := range settings {
		m[s.key] = s.def
	}
	return confmap.Provider(m, ".")
}

func configPath(environ []string, flags *pflag.FlagSet) string {
	if flags != nil && flags.Changed("config") {
		return flags.Lookup("config").Value.String()
	}
	path, _ := lookup(environ, configEnv)
	return path
}

// loadFile merges a YAML file over k. Its lists become comma lists, and a key without a value
// counts as not given.
func (r raw) loadFile(k *koanf.Koanf, path string) error {
	parsed := koanf.New(".")
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("settings file: %w", err)
	}
	if err := parsed.Load(file.Provider(path), yaml.Parser()); err != nil {
		// The parser's error quotes the text, which may hold a secret: only its line is told.
		return fmt.Errorf("settings file %s: this is not YAML settings%s", path, yamlLine.FindString(err.Error()))
	}
	values := map[string]any{}
	for _, key := range parsed.Keys() {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if i < 0 {
			return fmt.Errorf("settings file %s: there is no setting %q: see `wgfleet serve --help`", path, key)
		}
		v := parsed.Get(key)
		if v == nil {
			continue
		}
		if _, isText := v.(string); !isText && settings[i].kind == secret {
			return fmt.Errorf("settings file %s: put the value of %s in quotes", path, key)
		}
		if list, ok := v.([]any); ok {
			v = joined(list)
		}
		values[key] = v
		r.origin[key] = key + " in " + path
	}
	if err := k.Load(confmap.Provider(values, "."), nil); err != nil {
		return fmt.Errorf("settings file %s: %w", path, err)
	}
	return nil
}

func joined(list []any) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}
