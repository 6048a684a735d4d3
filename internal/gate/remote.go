package gate

import (
	"net/netip"
	"slices"
	"strings"
)

// remote is the address that a request comes from: that of its connection, or, if this is a proxy of ours, the rightmost
// address in X-Forwarded-For that is no proxy of ours; what stands to the left of it anyone can have written. Where all
// are ours it is the leftmost. If one of those that count is not an address then it is that of the connection.
func (g *Gate) remote(connection netip.Addr, forwarded []string) netip.Addr {
	connection = plain(connection)
	if len(forwarded) == 0 {
		return connection
	}
	if !g.trusts(connection) {
		g.noteProxy(connection)
		return connection
	}
	remote := connection
	for _, line := range slices.Backward(forwarded) {
		for more := true; more; {
			var last string
			line, last, more = cutLast(line)
			address, ok := parseForwarded(last)
			if !ok {
				return connection
			}
			if !g.trusts(address) {
				return address
			}
			remote = address
		}
	}
	return remote
}

// noteProxy tells the log, once, that requests may come through a proxy that nobody has named: anyone can send the header.
// Under auth.Dev there is nothing to set: no proxy is let in.
func (g *Gate) noteProxy(connection netip.Addr) {
	if g.dev {
		return
	}
	g.proxied.Do(func() {
		g.config.Log.Warn("X-Forwarded-For comes from an address that is no trusted proxy. If it is a proxy of yours, all users behind it "+
			"share the limits of its address; see --trusted-proxy", "remote", connection.String())
	})
}

// plain is an address without what is not part of it: the form of an IPv6 address that an IPv4 address can have, and the
// network interface.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// trusts tells whether the address is that of a proxy of ours.
func (g *Gate) trusts(address netip.Addr) bool {
	for _, network := range g.config.Proxies {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// cutLast cuts off the last entry of a list, and tells whether there are more.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// parseForwarded reads an entry of X-Forwarded-For: an address, to which some proxies add the port.
func parseForwarded(entry string) (netip.Addr, bool) {
	entry = strings.Trim(entry, " \t")
	if address, err := netip.ParseAddr(entry); err == nil {
		return plain(address), true
	}
	withPort, err := netip.ParseAddrPort(entry)
	return plain(withPort.Addr()), err == nil
}
