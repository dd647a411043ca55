//! The environment, read once: the only place in the project that looks at it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variables of the process as they were when it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What the process was given. A variable that is not UTF-8 is none that we read.
    pub(crate) fn capture() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// A variable; one that is set to nothing counts as not set, as compose files make them.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Every variable whose name begins so.
    pub(crate) fn names_with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        self.0
            .keys()
            .map(String::as_str)
            .filter(move |name| name.starts_with(prefix))
    }

    /// Where a user's data goes unless told otherwise (XDG base directories).
    pub(crate) fn default_data_dir(&self) -> Option<PathBuf> {
        let data_home = self
            .get("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute());
        let home = || {
            self.get("HOME")
                .map(|home| PathBuf::from(home).join(".local/share"))
        };
        data_home.or_else(home).map(|dir| dir.join("portcullis"))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(
            variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_under_xdg_data_home_or_home() {
        let check = |environment: Environment, expect: Option<&str>| {
            assert_eq!(environment.default_data_dir(), expect.map(PathBuf::from));
        };
        check(
            [("HOME", "/home/ada")].into(),
            Some("/home/ada/.local/share/portcullis"),
        );
        check(
            [("HOME", "/home/ada"), ("XDG_DATA_HOME", "/data")].into(),
            Some("/data/portcullis"),
        );
        // The XDG specification: a relative path is invalid and to be ignored.
        check(
            [("HOME", "/home/ada"), ("XDG_DATA_HOME", "data")].into(),
            Some("/home/ada/.local/share/portcullis"),
        );
        check([].into(), None);
    }
}
