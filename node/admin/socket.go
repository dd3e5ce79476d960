package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"hanse/federation/exactjson"
)

const (
	// socketName is the socket's name in the data folder.
	socketName = "admin.sock"
	// maxSocketPath is how long the path of a socket may be on every system.
	maxSocketPath = 100
	// maxAnswer bounds an answer that is read, in bytes.
	maxAnswer = 64 << 20
)

// Listen opens the socket in a data folder. The folder must be the caller's alone: a socket that an earlier process left
// there is replaced. Who may enter the folder may ask. bind is net.Listen, or another network's.
func Listen(folder string, bind func(network, address string) (net.Listener, error)) (net.Listener, error) {
	path, done, err := reachable(folder)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := bind("unix", path)
	if err != nil {
		return nil, err
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the path may be one that is gone by then
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &socket{listener, filepath.Join(folder, socketName)}, nil
}

// socket removes its file in the end.
type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error {
	return errors.Join(s.Listener.Close(), ignoreMissing(os.Remove(s.path)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// reachable gives a path to a folder's socket that is short enough for the system: its own, or one through a link. done
// removes the link.
func reachable(folder string) (path string, done func(), err error) {
	path = filepath.Join(folder, socketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return "", nil, err
	}
	short := os.TempDir()
	if len(short) > maxSocketPath/2 {
		short = "/tmp" // a TMPDIR may be long itself
	}
	temporary, err := os.MkdirTemp(short, "hanse-")
	if err != nil {
		return "", nil, err
	}
	link := filepath.Join(temporary, "d")
	if err := os.Symlink(absolute, link); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(temporary))
	}
	return filepath.Join(link, socketName), func() { _ = os.RemoveAll(temporary) }, nil // a link that stays does no harm
}

// Client asks a running node.
type Client struct {
	folder string
	http   *http.Client
}

// Dial makes a client of the node that has a data folder. It connects to nobody yet.
func Dial(folder string) *Client {
	c := &Client{folder: folder}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, done, err := reachable(folder)
			if err != nil {
				return nil, err
			}
			defer done()
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	return c
}

// ErrNoNode says that no node runs on the data folder.
var ErrNoNode = errors.New("no hanse runs")

// Get asks a question and reads the answer into value.
func (c *Client) Get(ctx context.Context, path string, query url.Values, value any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://hanse"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return c.ask(request, value)
}

// Post is Get for what changes something. What is said goes in the request's body.
func (c *Client) Post(ctx context.Context, path string, form url.Values, value any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hanse"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.ask(request, value)
}

func (c *Client) ask(request *http.Request, value any) error {
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		folder, err := filepath.Abs(c.folder)
		if err != nil {
			folder = c.folder // the current folder is gone
		}
		return fmt.Errorf("%w on the data folder %s; start it, or name another folder with --data-dir or --config", ErrNoNode, folder)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not open %s; ask as the user that hanse runs as", filepath.Join(c.folder, socketName))
	case err != nil:
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var said struct {
			Error string `json:"error"`
		}
		if exactjson.Unmarshal(body, &said) != nil || said.Error == "" {
			said.Error = response.Status
		}
		return errors.New(said.Error)
	}
	return exactjson.Unmarshal(body, value)
}
