//! What code an input has reached, by the counters that the compiler puts into it
//! (`-C instrument-coverage`).

/// Which counters have ever had which order of magnitude.
pub struct Coverage {
    seen: Vec<u8>,
    /// Counters that were ever other than zero.
    pub reached: usize,
}

#[cfg(fuzz_coverage)]
mod counters {
    unsafe extern "C" {
        fn __llvm_profile_begin_counters() -> *mut u64;
        fn __llvm_profile_end_counters() -> *mut u64;
    }

    /// All of them. They are written by whatever runs meanwhile, which here is this thread alone.
    pub fn all() -> &'static mut [u64] {
        // SAFETY: the compiler's runtime gives the bounds of its own section of 64-bit counters,
        // which lives as long as the program; one thread searches, and no reference is kept.
        unsafe {
            let (begin, end) = (__llvm_profile_begin_counters(), __llvm_profile_end_counters());
            let length = usize::try_from(end.offset_from(begin)).unwrap_or(0);
            std::slice::from_raw_parts_mut(begin, length)
        }
    }
}

#[cfg(not(fuzz_coverage))]
mod counters {
    /// Without them every input is as good as another.
    pub fn all() -> &'static mut [u64] {
        &mut []
    }
}

impl Coverage {
    pub fn new() -> Self {
        Self {
            seen: vec![0; counters::all().len()],
            reached: 0,
        }
    }

    /// Whether there is any to go by.
    pub fn is_guide(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Before an input.
    pub fn begin(&self) {
        counters::all().fill(0);
    }

    /// After it: whether it has reached what none before it had, or so often.
    pub fn is_new(&mut self) -> bool {
        let mut new = false;
        for (counter, seen) in counters::all().iter().zip(&mut self.seen) {
            if *counter == 0 {
                continue;
            }
            let order = 1u8 << counter.ilog2().min(7);
            if *seen & order == 0 {
                self.reached += usize::from(*seen == 0);
                *seen |= order;
                new = true;
            }
        }
        new
    }
}
