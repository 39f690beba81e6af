//! What `/etc` says about names where the egress door is: ask at the loopback.

/// `resolv.conf`: the door's own place for names, which answers at once and says no.
pub(super) const RESOLV: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// `nsswitch.conf`; where names are asked for, so that the attempt is seen.
pub(super) fn nsswitch(asks_for_names: bool) -> String {
    let dns = if asks_for_names { " dns" } else { "" };
    format!("passwd: files\ngroup: files\nhosts: files{dns}\n")
}
