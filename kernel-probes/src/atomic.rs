//! Operations on numbers that others change at the same time. The standard library offers none for the machine of the probes; on a host, where
//! only the lints look at them, they are the standard library's.

#[cfg(target_arch = "bpf")]
use core::arch::asm;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Adds to a number.
///
/// # Safety
/// The verifier must know it as a place that may be written, with eight bytes of alignment.
#[inline(always)]
pub unsafe fn add_u64(place: *mut u64, value: u64) {
    // SAFETY: one instruction, which only changes the place.
    #[cfg(target_arch = "bpf")]
    unsafe {
        asm!("lock *(u64 *)({place} + 0) += {value}", place = in(reg) place, value = in(reg) value, options(nostack))
    };
    // SAFETY: as the caller promises.
    #[cfg(not(target_arch = "bpf"))]
    unsafe { AtomicU64::from_ptr(place) }.fetch_add(value, Ordering::Relaxed);
}

/// Adds to a number.
///
/// # Safety
/// The verifier must know it as a place that may be written, with four bytes of alignment.
#[inline(always)]
pub unsafe fn add_u32(place: *mut u32, value: u32) {
    // SAFETY: one instruction, which only changes the place.
    #[cfg(target_arch = "bpf")]
    unsafe {
        asm!("lock *(u32 *)({place} + 0) += {value}", place = in(reg) place, value = in(reg) value as u64, options(nostack))
    };
    // SAFETY: as the caller promises.
    #[cfg(not(target_arch = "bpf"))]
    unsafe { AtomicU32::from_ptr(place) }.fetch_add(value, Ordering::Relaxed);
}

/// Puts a number in place of another, which it returns (Linux 5.12 and later).
///
/// # Safety
/// The verifier must know it as a place that may be written, with eight bytes of alignment.
#[inline(always)]
pub unsafe fn exchange_u64(place: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: one instruction, which only changes the place.
        unsafe {
            asm!("{value} = xchg_64({place} + 0, {value})", place = in(reg) place, value = inout(reg) value, options(nostack))
        };
        value
    }
    // SAFETY: as the caller promises.
    #[cfg(not(target_arch = "bpf"))]
    unsafe { AtomicU64::from_ptr(place) }.swap(value, Ordering::Relaxed)
}
