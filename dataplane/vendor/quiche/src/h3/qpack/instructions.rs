// Copyright (C) 2019, Cloudflare, Inc.
// All rights reserved.
//
// Redistribution and use in source and binary forms, with or without
// modification, are permitted provided that the following conditions are
// met:
//
//     * Redistributions of source code must retain the above copyright notice,
//       this list of conditions and the following disclaimer.
//
//     * Redistributions in binary form must reproduce the above copyright
//       notice, this list of conditions and the following disclaimer in the
//       documentation and/or other materials provided with the distribution.
//
// THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS
// IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO,
// THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR
// PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
// CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
// EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,
// PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR
// PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF
// LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING
// NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
// SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.


//! Instructions of a peer, where there is no dynamic table.

use super::Error;
use super::Result;

/// Reads a peer's encoder or decoder stream.
///
/// Without a dynamic table there is nothing to insert and nothing to
/// acknowledge, so few instructions are left that a peer may send.
pub struct Instructions {
    stream: Stream,

    /// An integer that is not complete.
    pending: Option<Integer>,
}

enum Stream {
    Encoder { max_capacity: u64 },
    Decoder,
}

#[derive(Clone, Copy)]
struct Integer {
    value: u64,
    shift: u32,
}

impl Instructions {
    /// Reads an encoder stream, with the capacity that it may set at most.
    pub fn encoder(max_capacity: u64) -> Self {
        Self {
            stream: Stream::Encoder { max_capacity },
            pending: None,
        }
    }

    /// Reads a decoder stream.
    pub fn decoder() -> Self {
        Self {
            stream: Stream::Decoder,
            pending: None,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// An error means that an instruction is not allowed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<()> {
        for byte in bytes {
            let integer = match self.pending.take() {
                None => {
                    let mask = self.prefix_mask(*byte)?;
                    let value = byte & mask;

                    if value < mask {
                        self.complete(u64::from(value))?;
                        continue;
                    }

                    Integer {
                        value: u64::from(value),
                        shift: 0,
                    }
                },

                Some(Integer { shift, .. }) if shift > MAX_SHIFT =>
                    return Err(Error::InvalidInstruction),

                Some(Integer { value, shift }) => {
                    let value = value + (u64::from(byte & 0x7f) << shift);

                    if byte & 0x80 == 0 {
                        self.complete(value)?;
                        continue;
                    }

                    Integer {
                        value,
                        shift: shift + 7,
                    }
                },
            };

            self.pending = Some(integer);
        }

        Ok(())
    }

    /// The bits of an instruction's integer that are in its first byte.
    fn prefix_mask(&self, first: u8) -> Result<u8> {
        match self.stream {
            // Set Dynamic Table Capacity (RFC 9204, section 4.3.1).
            Stream::Encoder { .. } if first & 0xe0 == 0x20 => Ok(0x1f),

            // Stream Cancellation (RFC 9204, section 4.4.2).
            Stream::Decoder if first & 0xc0 == 0x40 => Ok(0x3f),

            _ => Err(Error::InvalidInstruction),
        }
    }

    fn complete(&self, value: u64) -> Result<()> {
        match self.stream {
            Stream::Encoder { max_capacity } if value > max_capacity =>
                Err(Error::InvalidInstruction),

            _ => Ok(()),
        }
    }
}

/// No integer needs more than 62 bits (RFC 9204, section 4.1.1).
const MAX_SHIFT: u32 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoder_may_set_capacity_within_limit() {
        let mut none = Instructions::encoder(0);
        assert_eq!(none.read(&[0x20, 0x20]), Ok(()));
        assert_eq!(none.read(&[0x21]), Err(Error::InvalidInstruction));

        // 4096, and one more, in pieces.
        let mut some = Instructions::encoder(4096);
        assert_eq!(some.read(&[0x3f, 0xe1, 0x1f, 0x3f]), Ok(()));
        assert_eq!(some.read(&[0xe2]), Ok(()));
        assert_eq!(some.read(&[0x1f]), Err(Error::InvalidInstruction));
    }

    #[test]
    fn encoder_may_not_insert() {
        // With static name, with literal name, and a duplicate.
        for first in [0xc0, 0x80, 0x40, 0x00] {
            let mut encoder = Instructions::encoder(0);
            assert_eq!(encoder.read(&[first]), Err(Error::InvalidInstruction));
        }
    }

    #[test]
    fn decoder_may_cancel_streams() {
        let mut decoder = Instructions::decoder();
        assert_eq!(decoder.read(&[0x40, 0x44, 0x7f, 0x80]), Ok(()));
        assert_eq!(decoder.read(&[0x80, 0x01]), Ok(()));
    }

    #[test]
    fn decoder_may_not_acknowledge() {
        // A section, an increment of 0, and one of 1.
        for first in [0x80, 0x00, 0x01] {
            let mut decoder = Instructions::decoder();
            assert_eq!(decoder.read(&[first]), Err(Error::InvalidInstruction));
        }
    }

    #[test]
    fn integer_has_a_limit() {
        let mut decoder = Instructions::decoder();
        assert_eq!(decoder.read(&[0x7f]), Ok(()));
        assert_eq!(
            decoder.read(&[0xff; 10]),
            Err(Error::InvalidInstruction)
        );
    }
}
