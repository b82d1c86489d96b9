package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/snapshot"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// manifestFile is written last: a folder without it is no backup.
const manifestFile = "backup.json"

// manifest says what a backup has.
type manifest struct {
	Format  int       `json:"format"` // 1.
	Made    time.Time `json:"made"`
	By      string    `json:"by"`
	Arauto  string    `json:"arauto"`
	Broker  string    `json:"broker"` // Version of nats-server.
	Streams []copied  `json:"streams"`

	Consumers []string `json:"consumers"` // Which of Arauto's own were there; null in a backup of an older version.
}

// copied is one stream of a backup.
type copied struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`

	Created time.Time `json:"created"` // By which its sequences are known, see stream.Incarnation.
	snapshot.Taken
}

// backupFormat is the number of the format that is written, and the only one that is read.
const backupFormat = 1

func newBackup(s *settings) *cobra.Command {
	var h holdFlags
	var holds bool
	c := &cobra.Command{
		Use:   "backup <folder>",
		Short: "Copy every stream and consumer into a folder, while the deployment is held",
		Long: "Copy every stream of the topology with its consumers into a new folder. The deployment must be held, and stay\n" +
			"so until the end: by arauto hold before it, or by --hold, which holds it, copies and resumes, also after an\n" +
			"error or an interrupt. The copy is not encrypted, also where the broker's store is. The broker's user for it\n" +
			"is backup.",
		Args: exactlyOne("folder"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, of := range []string{"for", "wait", "why"} {
				if c.Flags().Changed(of) && !holds {
					return usageError{fmt.Errorf("--%s is about the hold of --hold", of)}
				}
			}
			if err := h.check(); err != nil {
				return err
			}
			return s.backingUp(c, func(ctx context.Context, s *session) error {
				copying := s.backup
				if holds {
					copying = s.holdingBackup(h)
				}
				m, err := copying(ctx, args[0])
				if err != nil {
					return err
				}
				return s.show(c, m, s.copiedLines(m, "backed up")...)
			})
		},
	}
	c.Flags().BoolVar(&holds, "hold", false, "hold the deployment for the copy, and resume it afterwards")
	h.flags(c)
	return c
}

// resumeWithin is how long the end of a hold may take after the copy, an interrupt included. A
// guess.
const resumeWithin = 20 * time.Second

// holdingBackup is backup within a hold of its own, which ends whatever comes of the copy. A hold
// that is there already is not its to end, so it is refused.
func (s *session) holdingBackup(h holdFlags) func(context.Context, string) (manifest, error) {
	return func(ctx context.Context, folder string) (m manifest, err error) {
		if err := s.refuseHeld(ctx); err != nil {
			return m, err
		}
		if err := s.Hold(ctx, time.Now().Add(h.lasts), h.longest, h.why); err != nil {
			return m, err
		}
		defer func() {
			rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeWithin)
			defer cancel()
			if failed := s.Resume(rest); failed != nil {
				err = errors.Join(err, fmt.Errorf("the deployment is still held, run arauto resume: %w", failed))
			}
		}()
		return s.backup(ctx, folder)
	}
}

func (s *session) copiedLines(m manifest, did string) (lines []string) {
	for _, one := range m.Streams {
		lines = append(lines, line("%s %s: %s", did, one.Name, config.Size(one.Bytes)))
	}
	return lines
}

// backup copies the streams in an order in which no later copy can refer to what an earlier
// one lacks although webhooks come meanwhile: the broker itself moves messages within
// LOOKUP_RETRIES, and NOTIFICATIONS, which alone grows, is last.
func (s *session) backup(ctx context.Context, folder string) (m manifest, err error) {
	began, err := s.HeldUntil(ctx)
	if err == nil {
		err = s.checkHeld(ctx)
	}
	if err != nil {
		return m, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return m, fmt.Errorf("make folder of the backup: %w", err)
	}
	if err := s.audit(ctx, verbBackup, subject.Unit{}, "", "copy every stream"); err != nil {
		return m, err
	}
	m = manifest{Format: backupFormat, Made: time.Now().UTC(), By: s.by(), Arauto: s.command.Root().Version, Broker: s.js.Conn().ConnectedServerVersion()}
	for _, name := range backupOrder(s.config.Topology()) {
		one, err := s.copyStream(ctx, folder, name)
		if err != nil {
			return m, err
		}
		m.Streams = append(m.Streams, one)
	}
	ended, err := s.HeldUntil(ctx)
	if err == nil {
		err = s.checkHeld(ctx)
	}
	if err == nil {
		m.Consumers, err = s.present(ctx)
	}
	if err == nil && (began == nil || !SameHold(began, ended)) {
		err = errors.New("the hold is not the one in which the copy began")
	}
	if err != nil {
		return m, fmt.Errorf("the copy is not of one moment: %w", err)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, fmt.Errorf("write %s: %w", manifestFile, err)
	}
	_, err = writeSynced(filepath.Join(folder, manifestFile), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	return m, err
}

// backupOrder are the names of the declared streams, CIRCUITS first, because what it says of
// LOOKUP_RETRIES must not be newer, and NOTIFICATIONS last.
func backupOrder(declared topology.Settings) []string {
	order := []string{subject.Circuits}
	for _, one := range topology.Streams(declared) {
		if one.Name != subject.Circuits && one.Name != subject.Notifications {
			order = append(order, one.Name)
		}
	}
	return append(order, subject.Notifications)
}

// checkHeld returns an error unless every consumer is paused and at rest.
func (s *session) checkHeld(ctx context.Context) error {
	busy, err := s.busy(ctx)
	if err == nil && len(busy) > 0 {
		err = errors.New(busy[0])
	}
	if err != nil {
		return fmt.Errorf("the deployment is not held: %w; run arauto hold", err)
	}
	return nil
}

func (s *session) copyStream(ctx context.Context, folder, name string) (one copied, err error) {
	from, err := s.js.Stream(ctx, name)
	if err != nil {
		return one, fmt.Errorf("read stream %s: %w", name, err)
	}
	one = copied{Name: name, File: name + ".snapshot", Created: stream.Incarnation(from.CachedInfo())}
	one.Bytes, err = writeSynced(filepath.Join(folder, one.File), func(w io.Writer) error {
		sum := sha256.New()
		one.Taken, err = snapshot.Take(ctx, s.js.Conn(), name, io.MultiWriter(w, sum))
		one.SHA256 = hex.EncodeToString(sum.Sum(nil))
		return err
	})
	return one, err
}

// writeSynced makes a new file, which only this user may read, and returns its size when it
// is on the disk.
func writeSynced(path string, write func(io.Writer) error) (size int64, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("make file of the backup: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := write(file); err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return file.Seek(0, io.SeekCurrent)
}

func newRestore(s *settings) *cobra.Command {
	var lasts time.Duration
	c := &cobra.Command{
		Use:   "restore <folder>",
		Short: "Make every stream and consumer from a backup, on a broker that has none",
		Long: "Make every stream of a backup with its consumers, and hold the deployment. No role may run. Nothing is\n" +
			"overwritten: a broker that has one of the streams refuses it, and then nothing is changed. Every file is\n" +
			"compared with its checksum first. Then run arauto topology apply, start the roles, look, and run arauto\n" +
			"resume. The broker's user for it is backup.",
		Args: exactlyOne("folder"),
		RunE: func(c *cobra.Command, args []string) error {
			if lasts <= 0 || lasts > longestHold {
				return usageError{fmt.Errorf("--for must be more than 0 and at most %s", longestHold)}
			}
			return s.backingUp(c, func(ctx context.Context, s *session) error {
				m, err := readManifest(args[0])
				if err != nil {
					return err
				}
				until := time.Now().Add(lasts)
				if err := s.restore(ctx, args[0], m, until); err != nil {
					return err
				}
				return s.show(c, m, append(s.copiedLines(m, "restored"),
					line("held until %s: start the roles, look, then arauto resume", until.Format(time.RFC3339)))...)
			})
		},
	}
	c.Flags().DurationVar(&lasts, "for", time.Hour, "when the hold ends by itself")
	return c
}

// readManifest reads what a backup has, and compares every file with it.
func readManifest(folder string) (m manifest, err error) {
	text, err := os.ReadFile(filepath.Join(folder, manifestFile))
	if err != nil {
		return m, fmt.Errorf("read backup: %w", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read %s: %w", manifestFile, err)
	}
	if m.Format != backupFormat {
		return m, fmt.Errorf("the backup has format %d, this version reads %d", m.Format, backupFormat)
	}
	for _, one := range m.Streams {
		if one.File != filepath.Base(one.File) {
			return m, fmt.Errorf("%s names a file outside of the backup", manifestFile)
		}
		file, err := os.Open(filepath.Join(folder, one.File))
		if err != nil {
			return m, fmt.Errorf("read backup: %w", err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, file)
		if err := errors.Join(err, file.Close()); err != nil {
			return m, fmt.Errorf("read %s: %w", one.File, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != one.SHA256 {
			return m, fmt.Errorf("%s is not what was backed up: its checksum differs", one.File)
		}
	}
	return m, nil
}

// restore makes AUDIT first, for the entry that comes before each change, and NOTIFICATIONS
// last, without which no gateway answers 200. Between the two no consumer that works is
// there that was not held when it was copied, unless that hold has ended.
func (s *session) restore(ctx context.Context, folder string, m manifest, until time.Time) error {
	for _, one := range m.Streams {
		_, err := s.js.Stream(ctx, one.Name)
		if err == nil {
			return fmt.Errorf("the broker has stream %s; restore on one without streams", one.Name)
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("read stream %s: %w", one.Name, err)
		}
	}
	order := slices.Clone(m.Streams)
	slices.SortStableFunc(order, func(a, b copied) int { return first(a.Name) - first(b.Name) })
	for i, one := range order {
		if i == 1 {
			what := "restore every stream from the backup that " + m.By + " made at " + m.Made.Format(time.RFC3339)
			if err := s.audit(ctx, verbRestore, subject.Unit{}, "", what); err != nil {
				return err
			}
		}
		if err := s.restoreStream(ctx, folder, one); err != nil {
			return err
		}
	}
	if m.Consumers == nil { // Of a version that had those of every provider.
		m.Consumers = s.consumerNames()
	}
	return s.pause(ctx, until, m.Consumers)
}

// first is -1 for AUDIT, which is restored first, and 0 for every other stream.
func first(name string) int {
	if name == subject.Audit {
		return -1
	}
	return 0
}

func (s *session) restoreStream(ctx context.Context, folder string, one copied) (err error) {
	file, err := os.Open(filepath.Join(folder, one.File))
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if one.Config, err = incarnate(one.Config, one.Created); err != nil {
		return fmt.Errorf("read configuration of %s: %w", one.Name, err)
	}
	return snapshot.Restore(ctx, s.js.Conn(), one.Name, one.Taken, file)
}

// incarnate notes in a stream's configuration when the copied stream was created, without
// which its sequences would not be comparable with those that other streams hold.
func incarnate(configuration json.RawMessage, created time.Time) (json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(configuration, &all); err != nil {
		return nil, err
	}
	metadata := map[string]string{}
	if was := all["metadata"]; was != nil {
		if err := json.Unmarshal(was, &metadata); err != nil {
			return nil, err
		}
	}
	metadata[stream.IncarnationKey] = created.UTC().Format(time.RFC3339Nano)
	text, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	all["metadata"] = text
	return json.Marshal(all)
}
