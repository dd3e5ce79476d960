package rooms

import (
	"slices"

	"hanse/federation/id"
	"hanse/federation/room"
)

// unsettled is a task whose events are on disk or waiting, and which is answered when none waits any more.
type unsettled struct {
	task    *task
	result  room.Result
	waiting map[id.EventID]int // index in result.Verdicts
}

// settle answers a task whose commit is on disk, at once or, if it asked for that, when all its events are decided.
func (a *actor) settle(w waiting) {
	a.decided(w.result.Verdicts)
	if !w.task.settle {
		w.task.reply(answer{result: w.result})
		return
	}
	u := &unsettled{task: w.task, result: w.result, waiting: make(map[id.EventID]int)}
	u.result.Verdicts = slices.Clone(w.result.Verdicts)
	for i, v := range w.result.Verdicts {
		if v.Status == room.Waiting {
			u.waiting[v.EventID] = i
		}
	}
	if len(u.waiting) == 0 {
		w.task.reply(answer{result: w.result})
		return
	}
	a.unsettled = append(a.unsettled, u)
}

// decided notes verdicts that are on disk now for the tasks that wait for them.
func (a *actor) decided(verdicts []room.Verdict) {
	for _, v := range verdicts {
		if v.Status == room.Waiting {
			continue
		}
		for _, u := range a.unsettled {
			if i, ok := u.waiting[v.EventID]; ok {
				u.result.Verdicts[i] = v
				delete(u.waiting, v.EventID)
			}
		}
	}
	a.unsettled = slices.DeleteFunc(a.unsettled, func(u *unsettled) bool {
		if len(u.waiting) > 0 {
			return false
		}
		u.task.reply(answer{result: u.result})
		return true
	})
}

// abandon answers what waits for a machine that is gone.
func (a *actor) abandon(err error) {
	for _, u := range a.unsettled {
		u.task.reply(answer{err: err})
	}
	a.unsettled = nil
}
