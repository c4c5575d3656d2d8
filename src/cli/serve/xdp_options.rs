//! The options of `shardns serve` about interfaces that are read past the sockets.

use clap::ValueEnum;

use crate::server::Xdp;
use crate::sys::ethtool;
use crate::sys::xdp::Mode;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Past the sockets")]
pub struct XdpOptions {
    /// Interfaces whose datagrams are taken off the card's queues before they come to
    /// the sockets (AF_XDP), a queue a worker; everything else goes the usual way
    #[arg(long, value_name = "IFACE,IFACE", value_delimiter = ',', value_parser = parse_interface)]
    xdp: Vec<String>,
    /// Where frames are looked at: in the driver, behind it, which every interface
    /// can, or in the driver where it can
    #[arg(long, value_enum, default_value_t = XdpMode::Auto, requires = "xdp")]
    xdp_mode: XdpMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum XdpMode {
    Auto,
    Native,
    Generic,
}

impl XdpOptions {
    /// What is to be read past the sockets, if anything is.
    pub fn xdp(&self) -> Option<Xdp> {
        let mut interfaces: Vec<String> = Vec::new();
        for interface in &self.xdp {
            // One that is not there is told of when it is opened.
            let name = ethtool::main_name(interface).unwrap_or_else(|_| interface.clone());
            if !interfaces.contains(&name) {
                interfaces.push(name);
            }
        }
        (!interfaces.is_empty()).then_some(Xdp {
            interfaces,
            mode: match self.xdp_mode {
                XdpMode::Auto => Mode::Auto,
                XdpMode::Native => Mode::Native,
                XdpMode::Generic => Mode::Generic,
            },
        })
    }
}

fn parse_interface(text: &str) -> Result<String, String> {
    match text {
        "" => Err("write an interface's name, as eth0; `ip link` lists them".into()),
        name if name.len() > 15 => Err("an interface's name has 15 octets at most".into()),
        name => Ok(name.into()),
    }
}
