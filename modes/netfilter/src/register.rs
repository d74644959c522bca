//! Registers, counted in 32-bit units from 0 to 15.
//!
//! The kernel has two numberings for the same 64 bytes: 1 to 4 for 128-bit registers and 8 to 23 for 32-bit ones. Like
//! `nft` and the kernel's own dumps we name a register by the wide number where it is aligned to one.

/// A register by its first 32-bit unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register(pub u8);

const UNITS: u8 = 16;
const FIRST_NARROW: u32 = 8;
const UNITS_PER_WIDE: u32 = 4;

impl Register {
    /// Where `nft` puts the first or only operand.
    pub const FIRST: Register = Register(0);

    /// The register behind a value of this many bytes.
    #[must_use]
    pub(crate) fn after(self, bytes: usize) -> Register {
        let units = u8::try_from(bytes.div_ceil(4)).unwrap_or(UNITS);
        Register(self.0.saturating_add(units).min(UNITS))
    }

    /// The kernel's number.
    pub(crate) fn number(self) -> u32 {
        let unit = u32::from(self.0);
        if unit.is_multiple_of(UNITS_PER_WIDE) { 1 + unit / UNITS_PER_WIDE } else { FIRST_NARROW + unit }
    }

    /// From the kernel's number; `None` for the verdict register and for numbers out of range.
    pub(crate) fn from_number(number: u32) -> Option<Register> {
        let unit = match number {
            1..=4 => (number - 1) * UNITS_PER_WIDE,
            8..=23 => number - FIRST_NARROW,
            _ => return None,
        };
        u8::try_from(unit).ok().map(Register)
    }
}
