//! `notify test` sends mail to a real SMTP server (Debian's aiosmtpd), which demands STARTTLS and a
//! login, and says what became of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::process::{command, run};
use e2e::{Running, Setting, wait_until};
use serde_json::Value;

const PASSWORD: &str = "HUSH-hush";

#[test]
fn mail_is_delivered_over_tls_after_a_login() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Smtp::start(&setting, folder.path());

    let (code, said) = server.notify_test(&setting, PASSWORD, "TEST {{ .Status }}");
    assert_eq!(code, 0, "{said}");
    for what in ["firing", "resolved"] {
        let line = format!(
            "ops (email, localhost:{}): {what}: delivered\n",
            server.port
        );
        assert!(said.contains(&line), "{said}");
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 2, "{mails:#?}");
    for (mail, what) in mails.iter().zip(["firing", "resolved"]) {
        assert_eq!(mail["tls"], true);
        assert_eq!(mail["login"], true);
        assert_eq!(mail["from"], "unswept@x.example");
        assert_eq!(
            mail["to"],
            serde_json::json!(["ops@x.example", "on-call@x.example"])
        );
        let content = mail["content"].as_str().expect("a mail");
        assert!(
            content.contains(&format!("Subject: TEST {what}\r\n")),
            "{content}"
        );
        assert!(content.contains("Nothing leaks, and nothing"), "{content}");
    }

    let (code, said) = server.notify_test(&setting, "HUSH-wrong", "TEST");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("firing: FAILED") && said.contains("535"),
        "{said}"
    );
    assert!(!said.contains("HUSH"), "{said}");

    let (code, said) = server.notify_test(&setting, PASSWORD, "refuse me");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("554") && said.contains("no such mail here"),
        "{said}"
    );

    // Whom nobody vouches for gets no password.
    std::fs::copy(
        folder.path().join("other.pem"),
        folder.path().join("ca.pem"),
    )
    .expect("a file");
    let (code, said) = server.notify_test(&setting, PASSWORD, "TEST");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(server.mails().len(), 2);
}

struct Smtp {
    running: Running,
    folder: PathBuf,
    port: u16,
}

impl Smtp {
    fn start(setting: &Setting, folder: &Path) -> Self {
        certificates(folder);
        let mut python = command("/usr/bin/python3");
        python
            .arg(setting.root.join("tests/e2e/data/smtpd.py"))
            .args(["server.pem", "server.key"].map(|name| folder.join(name)))
            .args(["unswept", PASSWORD]);
        let mut running = Running::start("smtpd.py (apt-get install python3-aiosmtpd)", python);
        let port = wait_until("the SMTP server", Duration::from_secs(20), || {
            running.assert_alive();
            let text = running.stdout();
            let line = text.lines().find_map(|line| line.strip_prefix("READY "));
            line.and_then(|port| port.parse().ok()).ok_or(text)
        });
        Self {
            running,
            folder: folder.to_owned(),
            port,
        }
    }

    /// The exit code, and all that was said.
    fn notify_test(&self, setting: &Setting, password: &str, subject: &str) -> (i32, String) {
        let config = self.folder.join("unswept.yml");
        let text = format!(
            "receivers:\n  - name: ops\n    email_configs:\n      - to: ops@x.example, on-call@x.example\n        \
             from: unswept <unswept@x.example>\n        smarthost: localhost:{}\n        \
             auth_username: unswept\n        auth_password_env: SMTP_PASSWORD\n        \
             tls_config: {{ca_file: {}}}\n        headers: {{Subject: '{subject}'}}\n",
            self.port,
            self.folder.join("ca.pem").display()
        );
        std::fs::write(&config, text).expect("a configuration file");
        let done = Command::new(&setting.unswept)
            .args(["notify", "test", "--config"])
            .arg(&config)
            .env("SMTP_PASSWORD", password)
            .env("UNSWEPT_LOG", "trace")
            .output()
            .expect("unswept");
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (done.status.code().expect("an exit code"), said)
    }

    fn mails(&self) -> Vec<Value> {
        let text = self.running.stdout();
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }
}

/// `server.pem` with `server.key`, for localhost, signed by `ca.pem`; and `other.pem`, a stranger.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).args(arguments.split(' '));
        let _ = run(openssl);
    };
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    openssl(
        "req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").expect("a file");
    openssl(
        "x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem",
    );
}
