//! eBPF instructions, written one after another, with labels to jump to
//! (`Documentation/bpf/standardization/instruction-set.rst`). Jumps go forward
//! only, as the program of `program.rs` needs it.

/// A register. `R0` holds what a call returns, `R1` to `R5` what it is given; it
/// leaves `R6` to `R9` alone. `R10` is the end of the stack.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// How many octets are loaded or stored.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Size {
    Word = 0x00,
    Half = 0x08,
    Octet = 0x10,
    Double = 0x18,
}

/// Arithmetic on 64 bits.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Or = 0x40,
    And = 0x50,
    ShiftRight = 0x70,
    Move = 0xb0,
}

/// When to jump, comparing without sign.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    AtLeast = 0x30,
    AnyBitOf = 0x40,
    NotEqual = 0x50,
}

/// What an instruction works with beside its register.
#[derive(Clone, Copy)]
pub(super) enum With {
    Number(i32),
    Register(Register),
}

/// A place to jump to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(&'static str);

impl Label {
    pub const fn new(name: &'static str) -> Label {
        Label(name)
    }
}

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    number: i32,
}

/// Instructions and the jumps among them that have no target yet.
#[derive(Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
}

/// Classes, and where the second operand comes from.
const LOAD_DOUBLE: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_NUMBER: u8 = 0x62;
const STORE: u8 = 0x63;
/// Adds to memory, as one step (`BPF_STX | BPF_ATOMIC | BPF_DW`, with `BPF_ADD`).
const ADD_ATOMIC: u8 = 0xdb;
const ARITHMETIC: u8 = 0x07;
const JUMP: u8 = 0x05;
const FROM_REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Turns the lower octets round where the machine's order is not the network's.
const TO_BIG_ENDIAN: u8 = 0xdc;
/// `BPF_PSEUDO_MAP_FD`: the number is a descriptor of a map.
const MAP: u8 = 1;

impl Assembler {
    fn push(&mut self, code: u8, to: Register, from: u8, offset: i16, number: i32) {
        self.instructions.push(Instruction {
            code,
            registers: from << 4 | to as u8,
            offset,
            number,
        });
    }

    fn push_with(&mut self, code: u8, to: Register, with: With) {
        match with {
            With::Number(number) => self.push(code, to, 0, 0, number),
            With::Register(from) => self.push(code | FROM_REGISTER, to, from as u8, 0, 0),
        }
    }

    /// `to` = what lies `offset` octets behind `from`.
    pub fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.push(LOAD | size as u8, to, from as u8, offset, 0);
    }

    /// What lies `offset` octets behind `at` = `with`.
    pub fn store(&mut self, size: Size, at: Register, offset: i16, with: With) {
        match with {
            With::Number(number) => self.push(STORE_NUMBER | size as u8, at, 0, offset, number),
            With::Register(from) => self.push(STORE | size as u8, at, from as u8, offset, 0),
        }
    }

    /// Adds a register to the 64 bits that `at` points to, whoever else does so.
    pub fn add_at(&mut self, at: Register, number: Register) {
        self.push(ADD_ATOMIC, at, number as u8, 0, 0);
    }

    /// `to` = `to` and `with`, taken together.
    pub fn compute(&mut self, operation: Operation, to: Register, with: With) {
        self.push_with(ARITHMETIC | operation as u8, to, with);
    }

    /// `to` = `with`.
    pub fn set(&mut self, to: Register, with: With) {
        self.compute(Operation::Move, to, with);
    }

    /// `to` = the number that its lower 16 bits are in the network's order.
    pub fn number_of_half(&mut self, to: Register) {
        self.push(TO_BIG_ENDIAN, to, 0, 0, 16);
    }

    /// `to` = the map with this descriptor.
    pub fn set_map(&mut self, to: Register, descriptor: i32) {
        self.push(LOAD_DOUBLE, to, MAP, 0, descriptor);
        self.push(0, Register::R0, 0, 0, 0);
    }

    /// Goes to the label where `left` is to `right` as the condition says.
    pub fn jump_if(&mut self, left: Register, condition: Condition, right: With, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push_with(JUMP | condition as u8, left, right);
    }

    /// Goes to the label.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP, Register::R0, 0, 0, 0);
    }

    /// Calls one of the kernel's helper functions (bpf-helpers(7)).
    pub fn call(&mut self, helper: i32) {
        self.push(CALL, Register::R0, 0, 0, helper);
    }

    /// Ends the program; `R0` is its result.
    pub fn exit(&mut self) {
        self.push(EXIT, Register::R0, 0, 0, 0);
    }

    /// Here is the label: jumps to it so far lead here.
    pub fn label(&mut self, here: Label) {
        let target = self.instructions.len();
        let instructions = &mut self.instructions;
        self.jumps.retain(|(from, to)| {
            if *to == here {
                instructions[*from].offset = (target - from - 1) as i16;
            }
            *to != here
        });
    }

    /// The program.
    ///
    /// # Panics
    ///
    /// Where a jump leads nowhere.
    pub fn finish(self) -> Vec<Instruction> {
        assert!(self.jumps.is_empty(), "a jump without its label");
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::Register::{R0, R1};
    use super::*;

    #[test]
    fn instructions_are_the_kernels() {
        const END: Label = Label::new("end");
        let mut assembler = Assembler::default();
        assembler.load(Size::Half, R1, R0, 12);
        assembler.number_of_half(R1);
        assembler.jump_if(R1, Condition::NotEqual, With::Number(0x800), END);
        assembler.set_map(R1, 3);
        assembler.store(Size::Double, R0, -8, With::Register(R1));
        assembler.label(END);
        assembler.set(R0, With::Number(2));
        assembler.exit();
        let program = assembler.finish();
        let octets: Vec<(u8, u8, i16, i32)> = program
            .iter()
            .map(|one| (one.code, one.registers, one.offset, one.number))
            .collect();
        assert_eq!(
            octets,
            [
                (0x69, 0x01, 12, 0),
                (0xdc, 0x01, 0, 16),
                (0x55, 0x01, 3, 0x800),
                (0x18, 0x11, 0, 3),
                (0, 0, 0, 0),
                (0x7b, 0x10, -8, 0),
                (0xb7, 0x00, 0, 2),
                (0x95, 0, 0, 0),
            ]
        );
        assert_eq!(size_of::<Instruction>(), 8);
    }
}
