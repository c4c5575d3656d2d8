//! A table that says which socket of a `SO_REUSEPORT` group takes a flow, as a
//! classic BPF program. Such a program has no memory to look things up in, so
//! the table is its code: a decision tree over buckets of flows. To change the
//! table is to put another program on the group.

use std::io;

use libc::sock_filter;

use super::super::socket::UdpSocket;
use super::super::steer::{MAX_INSTRUCTIONS, attach_program, instruction, load, return_k};

/// Buckets of a table. A jump skips 255 instructions at most, and that is what
/// one half of the tree has: 127 decisions and 128 results.
pub const BUCKETS: usize = 256;

/// What spreads neighbouring ports and addresses over the buckets: 2^32 divided
/// by the golden ratio (D. Knuth, "The Art of Computer Programming", volume 3,
/// section 6.4).
const MULTIPLIER: u32 = 0x9E37_79B1;
/// Leaves the upper bits of the product, which all bits of the flow reach.
const SHIFT: u32 = u32::BITS - BUCKETS.ilog2();
/// Where the source address is in an IPv4 header (RFC 791 §3.1).
const SOURCE_ADDRESS: u32 = 12;
/// What leads to the bucket, before the tree.
const PREFIX: usize = 8;
const _: () = assert!(PREFIX + 2 * BUCKETS - 1 <= MAX_INSTRUCTIONS);

/// Puts a table on the group that `socket` belongs to, an IPv4 group: flows of
/// bucket `i` go to socket `table[i]`, counted in the order of binding. A number
/// that no socket has leaves the choice to the kernel's hash.
///
/// # Errors
///
/// What the kernel says to `setsockopt`.
pub fn attach(socket: &UdpSocket, table: &[u16; BUCKETS]) -> io::Result<()> {
    let mut program = bucket_of_flow().to_vec();
    decide(&mut program, 0, table);
    attach_program(socket, program)
}

/// A = the bucket, from source port and source address. The program's packet
/// starts at the UDP payload; the headers before it are reached through
/// `SKF_NET_OFF` (`Documentation/networking/filter.rst`).
fn bucket_of_flow() -> [sock_filter; PREFIX] {
    let network = libc::SKF_NET_OFF as u32;
    let alu = |operation, k| instruction(libc::BPF_ALU | operation | libc::BPF_K, k, 0);
    [
        // X = octets of the IP header; the UDP header begins with the port.
        instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, network, 0),
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, network, 0),
        alu(libc::BPF_LSH, 16),
        instruction(libc::BPF_MISC | libc::BPF_TAX, 0, 0),
        load(libc::BPF_W, network.wrapping_add(SOURCE_ADDRESS)),
        instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0, 0),
        alu(libc::BPF_MUL, MULTIPLIER),
        alu(libc::BPF_RSH, SHIFT),
    ]
}

/// Returns the socket of bucket A, which is among those from `first` on:
/// compares with the middle, the lower half right behind, the upper after it.
fn decide(program: &mut Vec<sock_filter>, first: usize, table: &[u16]) {
    let [socket] = table else {
        let (lower, upper) = table.split_at(table.len() / 2);
        let middle = first + lower.len();
        let mut compare = instruction(
            libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
            middle as u32,
            0,
        );
        compare.jt = (2 * lower.len() - 1) as u8;
        program.push(compare);
        decide(program, first, lower);
        return decide(program, middle, upper);
    };
    program.push(return_k(u32::from(*socket)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the tree by hand.
    fn decided(tree: &[sock_filter], bucket: u32) -> u32 {
        let mut at = 0;
        loop {
            let instruction = tree[at];
            if u32::from(instruction.code) == libc::BPF_RET {
                return instruction.k;
            }
            let jump = if bucket >= instruction.k {
                instruction.jt
            } else {
                instruction.jf
            };
            at += 1 + usize::from(jump);
        }
    }

    #[test]
    fn the_tree_is_the_table() {
        let table: [u16; BUCKETS] = std::array::from_fn(|bucket| (bucket * 7 % 300) as u16);
        let mut tree = Vec::new();
        decide(&mut tree, 0, &table);
        assert_eq!(tree.len(), 2 * BUCKETS - 1);
        for (bucket, &socket) in table.iter().enumerate() {
            assert_eq!(decided(&tree, bucket as u32), u32::from(socket));
        }
    }
}
