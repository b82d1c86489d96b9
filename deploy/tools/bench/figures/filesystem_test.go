package figures

import "testing"

func TestMountOfIsTheNearestAbove(t *testing.T) {
	t.Parallel()
	const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
30 22 7:0 / /mnt/data rw - xfs /dev/loop0 rw
31 22 7:1 / /mnt rw - tmpfs tmpfs rw
32 30 7:2 / /mnt/data rw - btrfs /dev/loop2 rw
nonsense
`
	for dir, want := range map[string][2]string{
		"/home/x":          {"ext4", "254:0"},
		"/mnt/data":        {"btrfs", "7:2"},
		"/mnt/data/stores": {"btrfs", "7:2"},
		"/mnt/database":    {"tmpfs", "7:1"},
	} {
		if kind, device := mountOf(mounts, dir); kind != want[0] || device != want[1] {
			t.Errorf("%s is on %s %s, want %v", dir, kind, device, want)
		}
	}
	if kind, _ := mountOf("", "/x"); kind != "" {
		t.Errorf("of nothing %q", kind)
	}
}
