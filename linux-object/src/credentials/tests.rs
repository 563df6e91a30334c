use super::*;

fn user(id: u32) -> Credentials {
    Credentials::root().with_groups(GroupChange::All(id)).unwrap().with_users(UserChange::All(id)).unwrap()
}

#[test]
fn who_gives_up_root_gives_up_everything() {
    let user = user(1000);
    assert_eq!((user.effective, user.permitted), (Capabilities::empty(), Capabilities::empty()));
    assert_eq!(user.with_users(UserChange::All(0)), Err(Errno::EPERM));
    assert_eq!(user.with_users(UserChange::Each(None, Some(1), None)), Err(Errno::EPERM));
    assert_eq!(user.with_users(UserChange::All(1000)), Ok(user.clone()));
}

#[test]
fn who_keeps_the_saved_user_can_come_back() {
    let away = Credentials::root().with_users(UserChange::Each(None, Some(7), None)).unwrap();
    assert!(away.effective.is_empty() && away.permitted == Capabilities::all());
    let back = away.with_users(UserChange::Each(None, Some(0), None)).unwrap();
    assert_eq!(back.effective, Capabilities::all());
}

#[test]
fn keeping_capabilities_keeps_only_what_is_permitted() {
    let keeping = Credentials::root().with_keep_capabilities(true).unwrap();
    let user = keeping.with_users(UserChange::All(5)).unwrap();
    assert_eq!((user.effective, user.permitted), (Capabilities::empty(), Capabilities::all()));
    let raised =
        user.with_capabilities(Capabilities::CHOWN, Capabilities::CHOWN, Capabilities::empty()).unwrap();
    assert!(raised.has(Capabilities::CHOWN));
    let more = Capabilities::CHOWN | Capabilities::KILL;
    assert_eq!(raised.with_capabilities(more, more, Capabilities::empty()), Err(Errno::EPERM));
}

#[test]
fn files_are_for_the_file_user() {
    let away = Credentials::root().with_file_user(9).unwrap();
    assert!(!away.has(Capabilities::DAC_OVERRIDE) && away.has(Capabilities::KILL));
    assert!(away.with_file_user(0).unwrap().has(Capabilities::DAC_OVERRIDE));
    assert_eq!(user(3).with_file_user(4), None);
}

#[test]
fn the_first_class_that_fits_decides() {
    let user = user(10);
    let check = |permissions, owner, group, wanted| {
        user.check_mode(FileType::Regular, permissions, owner, group, wanted)
    };
    assert_eq!(check(0o077, 10, 10, Permission::READ), Err(Errno::EACCES));
    assert_eq!(check(0o707, 1, 10, Permission::READ), Err(Errno::EACCES));
    assert_eq!(check(0o070, 1, 10, Permission::READ | Permission::WRITE), Ok(()));
    assert_eq!(check(0o004, 1, 1, Permission::READ), Ok(()));
    let root = Credentials::root();
    assert_eq!(root.check_mode(FileType::Regular, 0o644, 1, 1, Permission::EXECUTE), Err(Errno::EACCES));
    assert_eq!(root.check_mode(FileType::Directory, 0, 1, 1, Permission::EXECUTE), Ok(()));
}

#[test]
fn set_id_programs_act_as_their_owner() {
    let owner = ProgramOwner { permissions: 0o4755, user: 0, group: 0 };
    let (new, secure) = user(10).for_program(Some(owner));
    assert_eq!((new.real_user, new.effective_user, new.saved_user, new.file_user), (10, 0, 0, 0));
    assert!(secure && new.effective == Capabilities::all());
    let (new, secure) = user(10).for_program(None);
    assert!(!secure && new.effective_user == 10 && new.effective.is_empty());
    let confined = Credentials { no_new_privileges: true, ..user(10) };
    assert_eq!(confined.for_program(Some(owner)).0.effective_user, 10);
    let (root, secure) = Credentials::root().for_program(Some(ProgramOwner { permissions: 0o755, ..owner }));
    assert!(!secure && root == Credentials::root());
}

#[test]
fn locked_bits_stay() {
    let bits = SecureBits::NOROOT | SecureBits::NOROOT_LOCKED;
    let locked = Credentials::root().with_secure_bits(bits.bits()).unwrap();
    assert_eq!(locked.with_secure_bits(0), Err(Errno::EPERM));
    assert_eq!(locked.with_secure_bits(SecureBits::NOROOT_LOCKED.bits()), Err(Errno::EPERM));
}
