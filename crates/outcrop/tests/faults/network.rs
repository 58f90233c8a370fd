//! A link to another host that can be cut without a word: two network namespaces, a router and what is
//! behind it. Cut, the router drops every packet and answers none, as a dead switch does.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Of the networks of this process.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// A router and a far host; dropping it takes both away.
pub(crate) struct Network {
    // Second byte of its addresses, unique on this machine while it is there.
    number: u8,
    name: String,
}

impl Network {
    /// `None` where the user may not make one.
    pub(crate) fn make() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let [.., low] = std::process::id().to_be_bytes();
        // Two tests that draw the same number would collide: then the next free one is taken.
        for step in 0..=u8::MAX {
            let number = low.wrapping_add(step).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let network = Self { number, name: format!("outcrop-{number}") };
            if run(&format!("ip netns add {}-mid", network.name)) {
                network.connect();
                return Some(network);
            }
            std::mem::forget(network);
        }
        panic!("no free network")
    }

    fn connect(&self) {
        let (mid, far, n) = (self.mid(), self.far(), self.number);
        for line in [
            format!("ip netns add {far}"),
            format!("ip link add oc{n}a type veth peer name oc{n}b netns {mid}"),
            format!("ip addr add 10.{n}.1.1/24 dev oc{n}a"),
            format!("ip link set oc{n}a up"),
            format!("ip -n {mid} addr add 10.{n}.1.2/24 dev oc{n}b"),
            format!("ip -n {mid} link set oc{n}b up"),
            format!("ip -n {mid} link add oc{n}c type veth peer name oc{n}d netns {far}"),
            format!("ip -n {mid} addr add 10.{n}.2.1/24 dev oc{n}c"),
            format!("ip -n {mid} link set oc{n}c up"),
            format!("ip -n {far} addr add 10.{n}.2.2/24 dev oc{n}d"),
            format!("ip -n {far} link set oc{n}d up"),
            format!("ip -n {far} link set lo up"),
            format!("ip -n {far} route add default via 10.{n}.2.1"),
            format!("ip route add 10.{n}.2.0/24 via 10.{n}.1.2"),
        ] {
            assert!(run(&line), "{line}");
        }
        self.set_forwarding(true);
    }

    /// Packets are dropped in both directions, silently.
    pub(crate) fn cut(&self) {
        self.set_forwarding(false);
    }

    /// What the far host answers is dropped, silently; what is sent to it arrives.
    pub(crate) fn cut_answers(&self) {
        let n = self.number;
        assert!(run(&format!("ip -n {} route add blackhole 10.{n}.1.1/32", self.mid())));
    }

    pub(crate) fn let_answers(&self) {
        let n = self.number;
        assert!(run(&format!("ip -n {} route del blackhole 10.{n}.1.1/32", self.mid())));
    }

    pub(crate) fn mend(&self) {
        self.set_forwarding(true);
    }

    /// Address of the far host.
    pub(crate) fn far_address(&self) -> IpAddr {
        Ipv4Addr::new(10, self.number, 2, 2).into()
    }

    /// Name of the far host's namespace.
    pub(crate) fn far(&self) -> String {
        format!("{}-far", self.name)
    }

    fn mid(&self) -> String {
        format!("{}-mid", self.name)
    }

    fn set_forwarding(&self, on: bool) {
        let line = format!("ip netns exec {} sysctl -qw net.ipv4.ip_forward={}", self.mid(), u8::from(on));
        assert!(run(&line), "{line}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The links go with their namespaces.
        run(&format!("ip link del oc{}a", self.number));
        run(&format!("ip netns del {}", self.mid()));
        run(&format!("ip netns del {}", self.far()));
    }
}

/// Whether namespaces can be made here; says so where they cannot.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    let is_root = id.is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        eprintln!("not tested here: namespaces need root");
    }
    is_root
}

fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    output.is_ok_and(|output| output.status.success())
}
