package users

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Passwords says how passwords are hashed. The zero value is argon2id with sane costs. A hash says with what it was
// made, so changing this affects new passwords only, and old ones when their owner next logs in.
type Passwords struct {
	// Scheme is "argon2id" (the default) or "bcrypt".
	Scheme string `yaml:"scheme"`
	// MemoryKiB, Passes and Threads are argon2id's costs; 0 stands for 19456 KiB (19 MiB), 2 passes, 1 thread.
	MemoryKiB uint32 `yaml:"memory_kib"`
	Passes    uint32 `yaml:"passes"`
	Threads   uint8  `yaml:"threads"`
	// BcryptCost is bcrypt's cost, 4 to 31; 0 stands for 12.
	BcryptCost int `yaml:"bcrypt_cost"`
	// Parallel is how many passwords are hashed at once; 0 stands for one less than the processors, but at least 1, so that
	// however many log in, a processor is left for everybody else. It bounds the memory (Parallel × MemoryKiB), too.
	Parallel int `yaml:"parallel"`
}

// Validate reports every value out of range.
func (p Passwords) Validate() error {
	var errs []error
	switch p.Scheme {
	case "", "argon2id", "bcrypt":
	default:
		errs = append(errs, fmt.Errorf("scheme: %q is neither argon2id nor bcrypt", p.Scheme))
	}
	if p.MemoryKiB > MaxArgonMemoryKiB {
		errs = append(errs, fmt.Errorf("memory_kib: at most %d", MaxArgonMemoryKiB))
	}
	if p.Passes > MaxArgonPasses {
		errs = append(errs, fmt.Errorf("passes: at most %d", MaxArgonPasses))
	}
	if p.BcryptCost != 0 && (p.BcryptCost < bcrypt.MinCost || p.BcryptCost > bcrypt.MaxCost) {
		errs = append(errs, fmt.Errorf("bcrypt_cost: from %d to %d", bcrypt.MinCost, bcrypt.MaxCost))
	}
	if p.Parallel < 0 {
		errs = append(errs, errors.New("parallel: not negative"))
	}
	return errors.Join(errs...)
}

func (p Passwords) withDefaults() Passwords {
	if p.Scheme == "" {
		p.Scheme = "argon2id"
	}
	if p.MemoryKiB == 0 {
		p.MemoryKiB = 19 * 1024
	}
	if p.Passes == 0 {
		p.Passes = 2
	}
	if p.Threads == 0 {
		p.Threads = 1
	}
	if p.BcryptCost == 0 {
		p.BcryptCost = 12
	}
	if p.Parallel == 0 {
		p.Parallel = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return p
}

const (
	// MaxArgonMemoryKiB and MaxArgonPasses are argon2id's highest costs. A hash from the database is not trusted to ask for more.
	MaxArgonMemoryKiB = 1 << 20
	MaxArgonPasses    = 64

	argonSaltBytes = 16
	argonKeyBytes  = 32
)

// errBusy says that too many password checks wait already.
var errBusy = errors.New("too many passwords are being checked at once")

// hasher hashes and checks passwords, a bounded number at once. Safe for concurrent use.
type hasher struct {
	cost  Passwords // immutable
	turns turns
	decoy string // a hash that no password has: what is checked for accounts that don't exist
}

func newHasher(cost Passwords) (*hasher, error) {
	if err := cost.Validate(); err != nil {
		return nil, err
	}
	cost = cost.withDefaults()
	h := &hasher{cost: cost, turns: turns{free: cost.Parallel}}
	var err error
	h.decoy, err = h.makeDecoy()
	return h, err
}

// makeDecoy makes a hash that no password has. Where that needs no hashing it costs a server that starts, and one at
// rest, neither time nor memory.
func (h *hasher) makeDecoy() (string, error) {
	if h.cost.Scheme == "bcrypt" {
		return h.compute(rand.Text())
	}
	random := make([]byte, argonSaltBytes+argonKeyBytes)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process first
	return h.argonText(random[:argonSaltBytes], random[argonSaltBytes:]), nil
}

func (h *hasher) argonText(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return h.argonPrefix() + b64.EncodeToString(salt) + "$" + b64.EncodeToString(key)
}

// hash makes the text that is stored for a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.turns.take(ctx); err != nil {
		return "", err
	}
	defer h.turns.give()
	return h.compute(password)
}

// check tells whether the password made the stored hash. An empty hash (no such account, or one without a password)
// costs as much as a real one and is never right. It must be the caller's turn.
func (h *hasher) check(stored, password string) bool {
	usable := stored != ""
	if !usable {
		stored = h.decoy
	}
	ok := matches(stored, password)
	return ok && usable
}

// outdated tells whether a stored hash was made with other settings than those of today.
func (h *hasher) outdated(stored string) bool {
	if h.cost.Scheme == "bcrypt" {
		cost, err := bcrypt.Cost([]byte(stored))
		return err != nil || cost != h.cost.BcryptCost
	}
	return !strings.HasPrefix(stored, h.argonPrefix())
}

func (h *hasher) argonPrefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, h.cost.MemoryKiB, h.cost.Passes, h.cost.Threads)
}

func (h *hasher) compute(password string) (string, error) {
	if h.cost.Scheme == "bcrypt" {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), h.cost.BcryptCost)
		return string(hash), err
	}
	salt := make([]byte, argonSaltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the process first
	key := argon2.IDKey([]byte(password), salt, h.cost.Passes, h.cost.MemoryKiB, h.cost.Threads, argonKeyBytes)
	return h.argonText(salt, key), nil
}

// matches checks a password against a stored hash of either scheme, in time that does not depend on how much of it
// is right.
func matches(stored, password string) bool {
	if !strings.HasPrefix(stored, "$argon2id$") {
		return bcrypt.CompareHashAndPassword([]byte(stored), []byte(password)) == nil
	}
	var version int
	var memory, passes uint32
	var threads uint8
	parts := strings.Split(stored, "$") // "", argon2id, v=, m=,t=,p=, salt, key
	if len(parts) != 6 {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		return false
	}
	if memory > MaxArgonMemoryKiB || passes == 0 || passes > MaxArgonPasses || threads == 0 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 || len(want) > 1024 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}
