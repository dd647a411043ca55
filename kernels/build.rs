//! Compiles the kernels: by nvcc for the feature `cuda`, by a C++ compiler for `emulation`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cuda");
    println!("cargo:rerun-if-changed=src");
    #[cfg(feature = "emulation")]
    emulation::build();
    #[cfg(feature = "cuda")]
    cuda::build();
}

/// The device code, `src/OP/OP.cu`.
#[cfg(any(feature = "cuda", feature = "emulation"))]
fn sources() -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir("src").expect("the crate has a folder src");
    let source = |folder: std::fs::DirEntry| {
        let name = folder.file_name();
        folder.path().join(name).with_extension("cu")
    };
    let mut sources: Vec<_> = folders
        .map(|folder| source(folder.expect("src can be listed")))
        .filter(|path| path.exists())
        .collect();
    sources.sort();
    sources
}

#[cfg(feature = "emulation")]
mod emulation {
    use std::fmt::Write;
    use std::path::{Path, PathBuf};

    /// One translation unit, so that nothing of it is dropped by a linker: each op in a namespace
    /// of its own.
    pub(super) fn build() {
        let root = std::env::current_dir().expect("cargo runs build scripts in the crate's folder");
        let mut unit = String::from("#include \"emulation.cpp\"\n");
        for source in super::sources() {
            let op = source.file_stem().expect("sources have names").display();
            let path = root.join(&source).display().to_string();
            writeln!(unit, "namespace {op} {{\n#include {path:?}\n}}")
                .expect("writing into a string");
        }
        let out: PathBuf = std::env::var_os("OUT_DIR").expect("set by cargo").into();
        let file = out.join("emulation_unit.cpp");
        std::fs::write(&file, unit).expect("OUT_DIR can be written");
        compile(&file);
    }

    fn compile(file: &Path) {
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .define("PORTCULLIS_EMULATION", None)
            .include("cuda")
            .file(file)
            // Tests run it for minutes otherwise.
            .opt_level(2)
            .flag("-ffp-contract=off")
            .flag("-fno-strict-aliasing")
            .flag("-Wall")
            .flag("-Wextra")
            .compile("portcullis_emulation");
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// Compute capability of the generated code unless `CUDA_COMPUTE_CAP` says another: the oldest
    /// with the instructions used. A driver compiles it for any later card.
    const COMPUTE_CAP_MIN: &str = "80";

    /// One PTX file an op, and `modules.rs` with all of them.
    pub(super) fn build() {
        println!("cargo:rerun-if-env-changed=NVCC");
        println!("cargo:rerun-if-env-changed=CUDA_HOME");
        println!("cargo:rerun-if-env-changed=CUDA_COMPUTE_CAP");
        let out: PathBuf = std::env::var_os("OUT_DIR").expect("set by cargo").into();
        let mut modules = String::from("[\n");
        for source in super::sources() {
            let op = source.file_stem().expect("sources have names").display();
            let ptx = out.join(format!("{op}.ptx"));
            compile(&source, &ptx);
            modules += &format!("    ({:?}, include_str!({ptx:?})),\n", op.to_string());
        }
        std::fs::write(out.join("modules.rs"), modules + "]\n").expect("OUT_DIR can be written");
    }

    fn compile(source: &Path, ptx: &Path) {
        let capability =
            std::env::var_os("CUDA_COMPUTE_CAP").unwrap_or_else(|| COMPUTE_CAP_MIN.into());
        let status = Command::new(nvcc())
            .args(["--ptx", "-std=c++17", "-O3", "-lineinfo", "-I", "cuda"])
            .arg(format!("-arch=compute_{}", capability.display()))
            .args(["-ftz=false", "-prec-div=true", "-prec-sqrt=true"])
            .arg("-o")
            .args([ptx, source])
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("nvcc failed on {} ({status})", source.display()),
            Err(error) => panic!(
                "nvcc could not be started ({error}): the feature cuda needs CUDA 13.0; \
                 scripts/cuda-toolkit installs what a build needs, on a machine without a GPU too"
            ),
        }
    }

    fn nvcc() -> PathBuf {
        if let Some(nvcc) = std::env::var_os("NVCC") {
            return nvcc.into();
        }
        match std::env::var_os("CUDA_HOME") {
            Some(home) => PathBuf::from(home).join("bin/nvcc"),
            None => "nvcc".into(),
        }
    }
}
