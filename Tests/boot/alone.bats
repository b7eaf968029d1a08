#!/usr/bin/env bats
# A boot loader alone, with files that it reads: it boots within seconds, so every test run has it.

load ../cli/helper
load machine
load lost

@test "a boot loader alone, with both" {
    local firmware
    touch expected_attention
    for firmware in uefi bios; do
        backed_up "$firmware" 384M tiny_machine
        comes_back "$firmware" 512M virtio
        rm -r new.img pod.conf pod.key store && mkdir store
    done
}
