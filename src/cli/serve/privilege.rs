//! The options of `shardns serve` about what it gives up when its sockets are
//! bound.

use crate::daemon::privileges::{PrivilegeError, Privileges};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privileges")]
pub struct PrivilegeOptions {
    /// User to become when all sockets are bound, a name or a number, with all
    /// groups and capabilities gone; root stays root
    /// [default: nobody if root starts the program, else who starts it]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Keep all files and system calls in reach, rather than those alone that
    /// serving takes (Landlock, seccomp)
    #[arg(long)]
    no_sandbox: bool,
}

impl PrivilegeOptions {
    /// What is to be given up.
    pub fn resolve(&self) -> Result<Privileges, PrivilegeError> {
        Privileges::resolve(self.user.as_deref(), !self.no_sandbox)
    }
}
