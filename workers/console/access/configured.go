package access

import (
	"fmt"
	"net"
	"net/netip"

	"arauto/deploy/runtime/config"
)

// Configured are the settings of a console's section, which has been checked. Assets and
// Now are left to the caller.
func Configured(c config.Console) (Settings, error) {
	s := Settings{
		Mode: Mode(c.Access.Mode), Secure: c.Plaintext != "", Hosts: c.Hosts, Users: map[string]User{},
		Idle: c.Access.Idle, Lifetime: c.Access.Lifetime, Header: c.Access.Header, Persons: map[string]Role{},
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && isLoopback(host) {
		s.Hosts = append([]string{"localhost", "127.0.0.1", "::1", host}, s.Hosts...)
	}
	for name, u := range c.Access.Users {
		role, err := ParseRole(u.Role)
		if err != nil {
			return Settings{}, fmt.Errorf("read the role of %s: %w", name, err)
		}
		s.Users[name] = User{Hash: u.Hash.Reveal(), Role: role}
	}
	if c.Access.WithoutLogin != "" {
		role, err := ParseRole(c.Access.WithoutLogin)
		if err != nil || role != Reader {
			return Settings{}, fmt.Errorf("without_login is %q; write reader", c.Access.WithoutLogin)
		}
		s.WithoutLogin = role
	}
	for _, name := range c.Access.Readers {
		s.Persons[name] = Reader
	}
	for _, name := range c.Access.Operators {
		s.Persons[name] = Operator
	}
	for _, network := range c.Access.Proxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return Settings{}, fmt.Errorf("read trusted_proxies: %w", err)
		}
		s.Proxies = append(s.Proxies, prefix.Masked())
	}
	return s, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
