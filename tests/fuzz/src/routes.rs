//! The route table, against a search that tries everything.

use std::convert::Infallible;

use rand::TryRng;
use tidegate_dataplane::fuzzing;

pub(super) fn run(data: &[u8]) {
    fuzzing::routes_agree(&mut Choices(data));
}

/// Chooses as the input says; at its end, always the first.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let len = self.0.len().min(N);
        taken[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        taken
    }
}

impl TryRng for Choices<'_> {
    type Error = Infallible;

    // The high bits decide what is chosen: a byte of input is enough for each choice.
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [byte] = self.take();
        Ok(u32::from(byte) << 24)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let [byte] = self.take();
        Ok(u64::from(byte) << 56)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.fill_with(|| {
            let [byte] = self.take();
            byte
        });
        Ok(())
    }
}
