//! What the host CPU can run, asked of the CPU and the operating system.

use super::CodegenError;

/// Refuses hosts on which the kernels' arithmetic cannot be exact: fused multiply-add must be an
/// instruction. On x86-64 that is level v3 (AVX2 and FMA); every aarch64 has it.
pub fn require() -> Result<(), CodegenError> {
    let missing = missing_features();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CodegenError::HostFeature { missing: missing.join(" and ") })
    }
}

#[cfg(target_arch = "x86_64")]
fn missing_features() -> Vec<&'static str> {
    // The macro asks CPUID and, for registers that the OS must save, XGETBV.
    let mut missing = Vec::new();
    if !std::arch::is_x86_feature_detected!("avx2") {
        missing.push("avx2");
    }
    if !std::arch::is_x86_feature_detected!("fma") {
        missing.push("fma");
    }
    missing
}

#[cfg(target_arch = "aarch64")]
fn missing_features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn missing_features() -> Vec<&'static str> {
    vec!["an instruction set that deepthin compiles for (x86-64 or aarch64)"]
}

/// The features of the host that matter to kernels, for `info`.
pub fn describe() -> String {
    let names = present();
    let machine = if cfg!(target_arch = "x86_64") { "x86-64" } else { std::env::consts::ARCH };
    [machine].into_iter().chain(names).collect::<Vec<_>>().join(" ")
}

/// The features that are there, by the names of [`describe`].
pub(super) fn present() -> Vec<&'static str> {
    features().into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512dq", std::arch::is_x86_feature_detected!("avx512dq")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
