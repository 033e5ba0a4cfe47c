// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model: what each request should do according to iommufd.rst and the
 * comments of iommufd.h. Nothing here is clever or fast.
 *
 * Functions return 0 or a negative errno, and change the world only if the
 * kernel should. @other is a second errno that is also right, if no document
 * says which of two reasons is found first.
 */
#include "world.h"

const struct unit_kind mock_units[NR_UNITS] = {
	{ 0, { MOCK_APERTURE_START, MOCK_APERTURE_LAST }, MOCK_PAGE },
	{ 0, { 0, (1ULL << 48) - 1 }, PAGE | SZ_2M | 1UL << 30 },
	{ MOCK_DEVICE_KEEPS, { 0, (1ULL << 39) - 1 }, PAGE },
	{ MOCK_DEVICE_GROWS, { 0, MAX }, PAGE | SZ_2M },
	{ MOCK_DEVICE_FREES_EARLY | MOCK_DEVICE_ENFORCES,
	  { 0, (1ULL << 48) - 1 }, PAGE },
	{ MOCK_DEVICE_LATE, { PAGE, (1ULL << 40) - 1 }, MOCK_PAGE },
};

const struct unit_kind vtd_unit = {
	0, { 0, (1ULL << 48) - 1 }, PAGE | SZ_2M | 1UL << 30
};

/*
 * Objects
 */

/* The object that has this object's id now: an id can be reused */
struct object *find(int ctx, int slot, enum type type)
{
	__u32 id = w->objects[slot].id;
	int i;

	if (!id)
		return NULL;
	for (i = 0; i <= w->next_slot; i++) {
		struct object *obj = &w->objects[i];

		if (!obj->live || obj->ctx != ctx || obj->id != id)
			continue;
		/* Only VFIO knows a real device */
		if (type == ANY && obj->type == DEVICE && w->real)
			return NULL;
		return type == ANY || obj->type == type ? obj : NULL;
	}
	return NULL;
}

struct object *m_new(int slot, enum type type, int ctx)
{
	struct object *obj = &w->objects[slot];

	memset(obj, 0, sizeof(*obj));
	obj->type = type;
	obj->live = true;
	obj->ctx = ctx;
	obj->order = w->order++;
	return obj;
}

#define for_each(_obj, _type)                                                  \
	for (_obj = w->objects; _obj <= w->objects + w->next_slot; _obj++)     \
		if (_obj->live && _obj->type == (_type))

/* Objects of a type that belong to an IOAS, in the order of creation */
static struct object *next_of(struct object *ioas, enum type type,
			      struct object *prev)
{
	struct object *obj, *best = NULL;

	for_each(obj, type)
		if (obj->ioas == ioas && (!prev || obj->order > prev->order) &&
		    (!best || obj->order < best->order))
			best = obj;
	return best;
}

#define for_each_of(_obj, _ioas, _type)                                        \
	for (_obj = next_of(_ioas, _type, NULL); _obj;                         \
	     _obj = next_of(_ioas, _type, _obj))

static bool has_table(struct object *ioas)
{
	return next_of(ioas, HWPT, NULL);
}

/*
 * Ranges
 */

bool meets(const struct range *r, __u64 start, __u64 last)
{
	return r->start <= last && r->last >= start;
}

static bool any_meets(const struct ranges *list, __u64 start, __u64 last)
{
	int i;

	for (i = 0; i < list->nr; i++)
		if (meets(&list->at[i], start, last))
			return true;
	return false;
}

static void add_range(struct ranges *list, __u64 start, __u64 last)
{
	if (list->nr == MAX_RANGES)
		abort();
	list->at[list->nr++] = (struct range){ start, last };
}

static void beyond(const struct unit_kind *unit, struct ranges *out)
{
	if (unit->reach.start)
		add_range(out, 0, unit->reach.start - 1);
	if (unit->reach.last != MAX)
		add_range(out, unit->reach.last + 1, MAX);
}

/* All reserved ranges, unordered */
void reserved_ranges(const struct object *ioas, struct ranges *out)
{
	struct object *obj;
	int i;

	*out = ioas->reserved;
	for_each(obj, HWPT)
		if (obj->ioas == ioas)
			beyond(obj->unit, out);
	for_each(obj, DEVICE)
		if (obj->table && obj->table->ioas == ioas)
			for (i = 0; i < obj->excluded.nr; i++)
				add_range(out, obj->excluded.at[i].start,
					  obj->excluded.at[i].last);
}

static bool is_reserved(const struct object *ioas, __u64 start, __u64 last)
{
	struct ranges list;

	reserved_ranges(ioas, &list);
	return any_meets(&list, start, last);
}

/* The remaining ranges, ascending */
void free_ranges(const struct object *ioas, struct ranges *out)
{
	struct ranges taken;
	__u64 from = 0;
	bool moved;
	int i;

	reserved_ranges(ioas, &taken);
	out->nr = 0;
	for (;;) {
		__u64 last = MAX;

		do {
			moved = false;
			for (i = 0; i < taken.nr; i++) {
				if (!meets(&taken.at[i], from, from))
					continue;
				if (taken.at[i].last == MAX)
					return;
				from = taken.at[i].last + 1;
				moved = true;
			}
		} while (moved);
		for (i = 0; i < taken.nr; i++)
			if (taken.at[i].start > from && taken.at[i].start <= last)
				last = taken.at[i].start - 1;
		add_range(out, from, last);
		if (last == MAX)
			return;
		from = last + 1;
	}
}

/* Can these ranges be reserved? */
static int can_reserve(const struct object *ioas, const struct ranges *list)
{
	int i, j;

	for (i = 0; i < list->nr; i++) {
		const struct range *r = &list->at[i];

		for (j = 0; j < ioas->nr; j++)
			if (meets(r, ioas->areas[j].start, ioas->areas[j].last))
				return -EADDRINUSE;
		if (any_meets(&ioas->allowed, r->start, r->last))
			return -EADDRINUSE;
	}
	return 0;
}

int m_reserve(struct object *ioas, const struct ranges *list)
{
	int i, ret = can_reserve(ioas, list);

	for (i = 0; !ret && i < list->nr; i++)
		add_range(&ioas->reserved, list->at[i].start, list->at[i].last);
	return ret;
}

int m_allow(struct object *ioas, const struct ranges *list)
{
	struct ranges seen = {};
	int i;

	for (i = 0; i < list->nr; i++) {
		const struct range *r = &list->at[i];

		if (r->start >= r->last || any_meets(&seen, r->start, r->last))
			return -EINVAL;
		add_range(&seen, r->start, r->last);
	}
	for (i = 0; i < list->nr; i++)
		if (is_reserved(ioas, list->at[i].start, list->at[i].last))
			return -EADDRINUSE;
	ioas->allowed = *list;
	return 0;
}

/*
 * Alignment
 */

static __u64 smallest(const struct unit_kind *unit)
{
	return unit->sizes & -unit->sizes;
}

/* With another page table of @unit, or NULL */
static __u64 alignment_with(const struct object *ioas,
			    const struct unit_kind *unit)
{
	__u64 ret = unit ? smallest(unit) : 1;
	struct object *obj;

	if (ioas->small_pages && ret < PAGE)
		ret = PAGE;
	for_each(obj, ACCESS)
		if (obj->ioas == ioas && obj->pins && ret < PAGE)
			ret = PAGE;
	for_each(obj, HWPT)
		if (obj->ioas == ioas && ret < smallest(obj->unit))
			ret = smallest(obj->unit);
	return ret;
}

__u64 alignment_of(const struct object *ioas)
{
	return alignment_with(ioas, NULL);
}

static bool areas_fit(const struct object *ioas, __u64 alignment)
{
	int i;

	for (i = 0; i < ioas->nr; i++) {
		const struct area *a = &ioas->areas[i];

		if ((a->start | (a->last + 1) | a->pos % PAGE) & (alignment - 1))
			return false;
	}
	return true;
}

int m_set_huge(struct object *ioas, __u64 huge)
{
	if (huge > 1)
		return -EINVAL;
	if (!huge && !ioas->small_pages && ioas->nr && has_table(ioas))
		return -EINVAL;
	if (!huge && !areas_fit(ioas, PAGE))
		return -EADDRINUSE;
	ioas->small_pages = !huge;
	return 0;
}

/*
 * Memory
 */

struct frame *new_frame(const struct frame *from)
{
	struct frame *frame = calloc(1, sizeof(*frame));

	if (!frame)
		abort();
	if (from)
		memcpy(frame->data, from->data, PAGE);
	return frame;
}

/* What reads return before the first write */
static struct frame *zeros(void)
{
	static struct frame frame;

	return &frame;
}

/* The frame that a process reads or writes at a page; NULL if it can't */
struct frame *look(struct proc *p, int page, bool write)
{
	struct vpage *v = &p->pages[page];
	struct frame **slot = &p->frames[page];

	if (v->kind == GAP || !(v->prot & PROT_READ) ||
	    (write && !(v->prot & PROT_WRITE)))
		return NULL;
	if (v->kind == SHARED) {
		struct file *file = &w->files[v->file];

		if (v->index >= file->npages)
			return NULL;
		slot = &file->frames[v->index];
		write = true;	/* reading fills a hole too */
	}
	if (!*slot && write)
		*slot = new_frame(NULL);
	return *slot ?: zeros();
}

static __u64 base_of(const struct store *store)
{
	return store->file < 0 ? FIRST_PAGE : 0;
}

/*
 * Find the frame that a pin gets. -EFAULT: there is none, or it can't be
 * written.
 */
static int get_frame(struct store *store, __u64 page, struct frame **frame)
{
	__u64 nr = page - base_of(store);
	struct proc *p = store->owner;
	struct vpage *v;

	if (store->bad)
		return -EINVAL;
	if (store->file >= 0) {
		struct file *file = &w->files[store->file];

		/*
		 * The whole mapping must be inside the file, whatever part is
		 * needed
		 */
		if (store->end > file->npages * PAGE)
			return -EINVAL;
		if (!file->frames[nr])
			file->frames[nr] = new_frame(NULL);
		*frame = file->frames[nr];
		return 0;
	}
	if (!p->alive || nr >= NPAGES)
		return -EFAULT;
	v = &p->pages[nr];
	/* Private memory that the process can write becomes its own */
	*frame = look(p, nr, store->writable ||
		      (v->kind == ANON && (v->prot & PROT_WRITE)));
	return *frame ? 0 : -EFAULT;
}

/* A failed pin may have written to pages for the first time */
static void may_be_touched(struct store *store, __u64 first, __u64 last)
{
	struct proc *p = store->owner;
	__u64 page;

	if (store->file >= 0 || !p->alive)
		return;
	for (page = first; page <= last && page - FIRST_PAGE < NPAGES; page++) {
		struct vpage *v = &p->pages[page - FIRST_PAGE];

		if (v->kind == ANON && (v->prot & PROT_WRITE) &&
		    look(p, page - FIRST_PAGE, true)) {
			p->touch[page - FIRST_PAGE] = true;
			p->fuzzy = true;
		}
	}
}

static bool over_limit(struct store *store, long more)
{
	if (!w->limit)
		return false;
	if (store->charge == USER)
		return w->charged + more > w->limit;
	return store->charge == PROCESS && store->owner->locked + more > w->limit;
}

static void count(struct store *store, long more)
{
	store->npinned += more;
	store->owner->pinned += more;
	if (store->charge == USER)
		w->charged += more;
	else if (store->charge == PROCESS)
		store->owner->locked += more;
}

/* Count pages as needed, all or none */
static int pin(struct store *store, __u64 first, __u64 last, int *other)
{
	__u64 base = base_of(store), page;
	long more = 0;
	int ret = 0;

	for (page = first; !ret && page <= last; page++) {
		struct frame *frame;

		if (page - base < NPAGES && store->need[page - base])
			continue;
		ret = get_frame(store, page, &frame);
		more += !ret;
	}
	if (more && over_limit(store, more)) {
		/* The limit is checked only now and then */
		if (ret)
			*other = -ENOMEM;
		else
			ret = -ENOMEM;
	}
	if (ret) {
		may_be_touched(store, first, last);
		return ret;
	}
	for (page = first; page <= last; page++) {
		struct frame *frame;

		if (store->need[page - base]++)
			continue;
		get_frame(store, page, &frame);
		store->held[page - base] = frame;
		if (store->file < 0)
			frame->pins++;
	}
	count(store, more);
	return 0;
}

static void unpin(struct store *store, __u64 first, __u64 last)
{
	__u64 base = base_of(store), page;

	for (page = first; page <= last; page++) {
		struct frame **held = &store->held[page - base];

		if (--store->need[page - base])
			continue;
		if (store->file < 0)
			(*held)->pins--;
		*held = NULL;
		count(store, -1);
	}
}

/* Memory of which nothing is mapped yet */
struct store *m_store(struct proc *owner, int file, __u64 pos, __u64 length,
		      bool writable, enum charge charge)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		abort();
	store->refs = 1;
	store->owner = owner;
	store->file = file;
	store->first = pos / PAGE;
	store->last = (pos + length - 1) / PAGE;
	store->end = pos + length;
	store->writable = writable;
	store->charge = charge;
	return store;
}

void m_drop(struct store *store)
{
	if (!--store->refs)
		free(store);
}

/*
 * Areas
 */

struct area *area_at(struct object *ioas, __u64 iova)
{
	int i;

	for (i = 0; i < ioas->nr; i++)
		if (iova >= ioas->areas[i].start && iova <= ioas->areas[i].last)
			return &ioas->areas[i];
	return NULL;
}

static __u64 place_of(const struct area *area, __u64 iova)
{
	return area->pos + (iova - area->start);
}

/* The frame that a device reaches; the area must be pinned */
struct frame *frame_at(const struct area *area, __u64 iova)
{
	return area->store->held[place_of(area, iova) / PAGE -
				 base_of(area->store)];
}

static int pin_area(struct area *area, int *other)
{
	int ret = pin(area->store, area->pos / PAGE,
		      place_of(area, area->last) / PAGE, other);

	area->pinned = !ret;
	return ret;
}

static void unpin_area(struct area *area)
{
	if (area->pinned)
		unpin(area->store, area->pos / PAGE,
		      place_of(area, area->last) / PAGE);
	area->pinned = false;
}

static void insert(struct object *ioas, const struct area *area)
{
	int at = ioas->nr;

	if (ioas->nr == MAX_AREAS)
		abort();
	while (at && ioas->areas[at - 1].start > area->start)
		at--;
	memmove(&ioas->areas[at + 1], &ioas->areas[at],
		(ioas->nr - at) * sizeof(*area));
	ioas->areas[at] = *area;
	ioas->nr++;
	area->store->refs++;
}

static void erase(struct object *ioas, struct area *area)
{
	int at = area - ioas->areas;

	unpin_area(area);
	m_drop(area->store);
	ioas->nr--;
	memmove(area, area + 1, (ioas->nr - at) * sizeof(*area));
}

/* If [*start, *start + length) overlaps @r, move *start behind it */
static bool step_over(__u64 *start, __u64 length, const struct range *r)
{
	if (!meets(r, *start, *start + length - 1))
		return false;
	*start = r->last + 1;
	return true;
}

/*
 * Is it inside the list, whose ranges can touch? If not, move *start to the next
 * range.
 */
static bool is_allowed(const struct ranges *list, __u64 *start, __u64 length)
{
	__u64 next = 0, last = *start + length - 1, at = *start;
	int i;

	if (!list->nr)
		return true;
	for (i = 0; i < list->nr; i++) {
		const struct range *r = &list->at[i];

		if (r->start <= at && r->last >= at) {
			if (r->last >= last)
				return true;
			/* Look for the range behind it, which can be any */
			at = r->last + 1;
			i = -1;
		} else if (r->start > *start && (!next || r->start < next)) {
			next = r->start;
		}
	}
	*start = next;
	return false;
}

/* The lowest IOVA for this memory, see struct iommu_ioas_map */
static int choose(struct object *ioas, __u64 pos, __u64 length, __u64 *iova)
{
	__u64 offset = pos % PAGE, align = 1, start = PAGE, aligned;
	struct ranges taken;
	bool moved;
	int i;

	if (length > MAX / 2)
		return -EOVERFLOW;
	while (align < SZ_2M && align < length && !(pos & align))
		align *= 2;
	if (align < alignment_of(ioas))
		return -EINVAL;
	if (align < PAGE)
		align = PAGE;
	reserved_ranges(ioas, &taken);
	do {
		aligned = (start - offset + align - 1) / align * align + offset;
		/* Never in the last page */
		if (!start || aligned < start ||
		    aligned > MAX - PAGE - (length - 1))
			return -ENOSPC;
		start = aligned;
		moved = false;
		for (i = 0; !moved && i < ioas->nr; i++) {
			struct range r = { ioas->areas[i].start,
					   ioas->areas[i].last };

			moved = step_over(&start, length, &r);
		}
		for (i = 0; !moved && i < taken.nr; i++)
			moved = step_over(&start, length, &taken.at[i]);
		if (!moved)
			moved = !is_allowed(&ioas->allowed, &start, length);
	} while (moved);
	*iova = start;
	return 0;
}

/*
 * Add areas, which begin at 0, with the errors of IOMMU_IOAS_MAP in their order
 */
static int put_in(struct object *ioas, struct area *areas, int nr, bool fixed,
		  __u64 length, __u64 *iova, int *other)
{
	__u64 align = alignment_of(ioas);
	int i, j, ret;

	if (length & (align - 1))
		return -EINVAL;
	if (fixed) {
		if (*iova & (align - 1))
			return -EINVAL;
		if (*iova + length - 1 < *iova)
			return -EOVERFLOW;
		if (is_reserved(ioas, *iova, *iova + length - 1))
			return -EINVAL;
		for (i = 0; i < ioas->nr; i++) {
			struct range r = { ioas->areas[i].start,
					   ioas->areas[i].last };

			if (meets(&r, *iova, *iova + length - 1))
				return -EEXIST;
		}
	} else {
		ret = choose(ioas, areas[0].pos, length, iova);
		if (ret)
			return ret;
	}
	for (i = 0; i < nr; i++) {
		areas[i].start += *iova;
		areas[i].last += *iova;
	}
	for (i = 0; i < nr; i++)
		if ((areas[i].prot & IOMMU_IOAS_MAP_WRITEABLE) &&
		    !areas[i].store->writable)
			return -EPERM;
	for (i = 0; i < nr; i++)
		if ((areas[i].start | areas[i].pos % PAGE) & (align - 1))
			return -EINVAL;
	for (i = 0; i < nr && has_table(ioas); i++) {
		ret = pin_area(&areas[i], other);
		if (!ret)
			continue;
		for (j = 0; j < i; j++)
			unpin_area(&areas[j]);
		return ret;
	}
	for (i = 0; i < nr; i++)
		insert(ioas, &areas[i]);
	return 0;
}

int m_map(struct object *ioas, struct store *store, __u32 flags, __u64 pos,
	  __u64 length, __u64 *iova, int *other)
{
	struct area area = {
		.last = length - 1,
		.store = store,
		.pos = pos,
		.prot = flags & MAP_RW,
	};

	return put_in(ioas, &area, 1, flags & IOMMU_IOAS_MAP_FIXED_IOVA, length,
		      iova, other);
}

int m_copy(struct object *dst, struct object *src, __u32 flags, __u64 length,
	   __u64 *dst_iova, __u64 src_iova, int *other)
{
	__u64 at = src_iova, last = src_iova + length - 1;
	struct area parts[MAX_AREAS];
	int nr = 0;

	for (;;) {
		struct area *a = area_at(src, at);
		__u64 end;

		if (!a)
			return -ENOENT;
		end = a->last < last ? a->last : last;
		parts[nr++] = (struct area){
			.start = at - src_iova,
			.last = end - src_iova,
			.store = a->store,
			.pos = place_of(a, at),
			.prot = flags & MAP_RW,
		};
		if (end == last)
			break;
		at = end + 1;
	}
	return put_in(dst, parts, nr, flags & IOMMU_IOAS_MAP_FIXED_IOVA, length,
		      dst_iova, other);
}

/* Does an item have a page of a range? */
static bool is_in(const struct item *item, __u64 start, __u64 last)
{
	return item->live && item->iova <= last &&
	       item->iova + item->npages * PAGE - 1 >= start;
}

/* Ask all accesses with pins in the area to unpin, one after the other */
static int evict(struct object *ioas, const struct area *area)
{
	struct object *access;
	int i;

	for_each_of(access, ioas, ACCESS) {
		for (i = 0; i < MAX_ITEMS; i++) {
			if (!is_in(&access->items[i], area->start, area->last))
				continue;
			if (access->stubborn)
				return -EDEADLOCK;
			m_access_unpin(access, &access->items[i]);
		}
	}
	return 0;
}

int m_unmap(struct object *ioas, __u64 first, __u64 last, __u64 *bytes)
{
	int i, ret = 0, err, nr = 0, from = -1;

	*bytes = 0;
	for (i = 0; !ret && i < ioas->nr; i++) {
		struct area *a = &ioas->areas[i];

		if (a->last < first || a->start > last)
			continue;
		if (a->start < first || a->last > last) {
			ret = -ENOENT;
			break;
		}
		if (from < 0)
			from = i;
		nr++;
	}
	for (i = from; i < from + nr; i++) {
		err = evict(ioas, &ioas->areas[i]);
		if (err)
			return err;
	}
	while (nr--) {
		*bytes += ioas->areas[from].last - ioas->areas[from].start + 1;
		erase(ioas, &ioas->areas[from]);
	}
	return ret;
}

/* Version 1 of a type1 container: split the area across an IOVA in two */
int m_cut(struct object *ioas, __u64 at)
{
	struct area *a = at ? area_at(ioas, at) : NULL, upper;
	struct object *access;
	int i, other;

	if (!a || a->start >= at)
		return 0;
	for_each_of(access, ioas, ACCESS)
		for (i = 0; i < MAX_ITEMS; i++)
			if (is_in(&access->items[i], a->start, a->last))
				return -EINVAL;
	if (at & (alignment_of(ioas) - 1))
		return -EINVAL;
	upper = *a;
	upper.start = at;
	upper.pos = place_of(a, at);
	/* Both areas need a page in which the cut is */
	if (a->pinned && upper.pos % PAGE)
		pin(a->store, upper.pos / PAGE, upper.pos / PAGE, &other);
	a->last = at - 1;
	insert(ioas, &upper);
	return 0;
}

/*
 * Page tables and devices
 */

/* Pin everything that is not pinned, with the first page table */
static int fill(struct object *ioas, int *other)
{
	int i, ret;

	for (i = 0; i < ioas->nr; i++) {
		if (ioas->areas[i].pinned)
			continue;
		ret = pin_area(&ioas->areas[i], other);
		if (!ret)
			continue;
		if (!has_table(ioas))
			while (i--)
				unpin_area(&ioas->areas[i]);
		return ret;
	}
	return 0;
}

/* Can the IOAS have one more page table? If so, fill it. */
static int settle(struct object *ioas, const struct unit_kind *unit, int *other)
{
	struct ranges list = {};
	int ret;

	beyond(unit, &list);
	ret = can_reserve(ioas, &list);
	if (!ret && !areas_fit(ioas, alignment_with(ioas, unit)))
		ret = -EADDRINUSE;
	return ret ?: fill(ioas, other);
}

static struct object *new_hwpt(struct object *ioas, const struct unit_kind *unit,
			       int slot, bool user_made)
{
	struct object *hwpt = m_new(slot, HWPT, ioas->ctx);

	hwpt->ioas = ioas;
	hwpt->unit = unit;
	hwpt->user_made = user_made;
	hwpt->known = true;
	return hwpt;
}

static void remove_hwpt(struct object *hwpt)
{
	struct object *ioas = hwpt->ioas;
	int i;

	hwpt->live = false;
	for (i = 0; i < ioas->nr && !has_table(ioas); i++)
		unpin_area(&ioas->areas[i]);
}

static int nr_attached(struct object *group)
{
	struct object *obj;
	int nr = 0;

	for_each(obj, DEVICE)
		nr += obj->group == group && obj->hwpt;
	return nr;
}

/* The group leaves its page table, which may be destroyed */
static void leave(struct object *group)
{
	struct object *table = group->table, *obj;

	group->table = NULL;
	if (!table || table->user_made)
		return;
	for_each(obj, DEVICE)
		if (obj->table == table)
			return;
	remove_hwpt(table);
}

/* Ranges that the devices of a group reserve */
static void regions_of(struct object *group, struct ranges *out)
{
	struct object *obj;
	int i;

	out->nr = 0;
	for_each(obj, DEVICE)
		for (i = 0; obj->group == group && i < obj->regions.nr; i++)
			add_range(out, obj->regions.at[i].start,
				  obj->regions.at[i].last);
}

/*
 * Attach a device, and its group, to an IOAS or a page table. A new page table
 * gets the number @slot. @table is set to the page table.
 */
int m_attach(struct object *dev, struct object *to, int slot,
	     struct object **table, int *other)
{
	struct object *group = dev->group, *now = group->table, *obj;
	struct object *hwpt = NULL, *ioas = to;
	struct ranges list;
	int ret;

	if (to->type == HWPT) {
		hwpt = to;
		ioas = to->ioas;
	} else if (to->type != IOAS) {
		return -EINVAL;
	} else if (now && now->ioas == ioas && !now->user_made) {
		hwpt = now;
	}
	if (now && now != hwpt && !dev->hwpt)
		return -EINVAL;
	/* The page table of another driver */
	if (hwpt && (hwpt->unit->flags ^ dev->unit->flags) & MOCK_DEVICE_LATE)
		return -EINVAL;

	/* The reserved ranges of the group must be free in any case */
	regions_of(group, &list);
	ret = can_reserve(ioas, &list);
	if (ret)
		return ret;
	if (hwpt && hwpt->unit != dev->unit)
		return -EINVAL;
	for_each_of(obj, ioas, HWPT)
		if (!hwpt && !obj->user_made && obj->unit == dev->unit)
			hwpt = obj;
	if (!hwpt) {
		ret = settle(ioas, dev->unit, other);
		if (ret)
			return ret;
		hwpt = new_hwpt(ioas, dev->unit, slot, false);
	}
	*table = hwpt;
	group->excluded = list;
	if (now != hwpt) {
		leave(group);
		group->table = hwpt;
		for_each(obj, DEVICE)
			if (obj->group == group && obj->hwpt)
				obj->hwpt = hwpt;
	}
	dev->hwpt = hwpt;
	return 0;
}

void m_detach(struct object *dev)
{
	if (!dev->hwpt)
		return;
	dev->hwpt = NULL;
	if (!nr_attached(dev->group))
		leave(dev->group);
}

/* One device stands for its group, so another may have to take over */
void m_unbind(struct object *dev)
{
	struct object *obj, *heir = NULL;

	m_detach(dev);
	dev->live = false;
	for_each(obj, IDEV)
		if (obj->group == dev)
			obj->live = false;
	for_each(obj, DEVICE) {
		if (obj->group != dev)
			continue;
		if (!heir) {
			heir = obj;
			heir->table = dev->table;
			heir->excluded = dev->excluded;
		}
		obj->group = heir;
	}
}

/* IOMMU_HWPT_ALLOC with valid ids and flags */
int m_make_hwpt(struct object *dev, struct object *ioas, int slot, int *other)
{
	int ret;

	if ((dev->unit->flags & MOCK_DEVICE_LATE) && dev->group->table)
		return -EOPNOTSUPP;
	ret = settle(ioas, dev->unit, other);
	if (!ret)
		new_hwpt(ioas, dev->unit, slot, true);
	return ret;
}

/*
 * Accesses
 */

int m_access_attach(struct object *access, struct object *ioas)
{
	if (access->ioas == ioas)
		return 0;
	if (access->pins && !areas_fit(ioas, PAGE))
		return -EADDRINUSE;
	m_access_detach(access);
	access->ioas = ioas;
	access->order = w->order++;
	return 0;
}

void m_access_detach(struct object *access)
{
	int i;

	for (i = 0; access->ioas && i < MAX_ITEMS; i++)
		if (access->items[i].live)
			m_access_unpin(access, &access->items[i]);
	access->ioas = NULL;
}

static struct area *accessed(struct object *access, __u64 iova, bool write,
			     int *ret)
{
	struct area *area = area_at(access->ioas, iova);
	__u32 prot = write ? IOMMU_IOAS_MAP_WRITEABLE : IOMMU_IOAS_MAP_READABLE;

	if (!area)
		*ret = -ENOENT;
	else if (!(area->prot & prot))
		*ret = -EPERM;
	else
		return area;
	return NULL;
}

static int count_pins(struct object *access, __u64 iova)
{
	int i, nr = 0;

	for (i = 0; i < MAX_ITEMS; i++)
		nr += is_in(&access->items[i], iova, iova);
	return nr;
}

/* An access holds a page once, however often it has pinned it */
int m_access_pin(struct object *access, __u64 iova, __u64 npages, bool write,
		 int *other)
{
	__u64 i, done;
	int ret = 0;

	for (done = 0; !ret && done < npages; done++) {
		__u64 at = iova + done * PAGE;
		struct area *area = accessed(access, at, write, &ret);

		if (area && !count_pins(access, at))
			ret = pin(area->store, place_of(area, at) / PAGE,
				  place_of(area, at) / PAGE, other);
	}
	if (!ret)
		return 0;
	for (i = 0; i + 1 < done; i++) {
		__u64 at = iova + i * PAGE;
		struct area *area = area_at(access->ioas, at);

		if (!count_pins(access, at))
			unpin(area->store, place_of(area, at) / PAGE,
			      place_of(area, at) / PAGE);
	}
	return ret;
}

void m_access_unpin(struct object *access, struct item *item)
{
	__u64 i;

	item->live = false;
	for (i = 0; i < item->npages; i++) {
		__u64 at = item->iova + i * PAGE;
		struct area *area = area_at(access->ioas, at);

		if (!count_pins(access, at))
			unpin(area->store, place_of(area, at) / PAGE,
			      place_of(area, at) / PAGE);
	}
}

/* Can a range be copied? Each byte must be in an area with this direction. */
int m_access_check(struct object *access, __u64 iova, __u64 length, bool write)
{
	__u64 last = iova + length - 1;
	int ret = 0;

	for (;;) {
		struct area *area = accessed(access, iova, write, &ret);

		if (!area)
			return ret;
		if (area->last >= last)
			return 0;
		iova = area->last + 1;
	}
}

/* Pin a page for a moment, to find its frame */
int m_touch(struct area *area, __u64 iova, struct frame **frame)
{
	__u64 page = place_of(area, iova) / PAGE;
	int other = 0, ret = pin(area->store, page, page, &other);

	if (ret)
		return ret;
	*frame = frame_at(area, iova);
	unpin(area->store, page, page);
	return 0;
}

/* Whole contexts */

int m_destroy(struct object *obj)
{
	struct object *user;

	switch (obj->type) {
	case IOAS:
		for_each(user, ACCESS)
			if (user->ioas == obj)
				return -EBUSY;
		if (has_table(obj))
			return -EBUSY;
		while (obj->nr)
			erase(obj, &obj->areas[obj->nr - 1]);
		if (w->container[obj->ctx] == obj)
			w->container[obj->ctx] = NULL;
		obj->live = false;
		return 0;
	case HWPT:
		for_each(user, DEVICE)
			if (user->table == obj)
				return -EBUSY;
		remove_hwpt(obj);
		return 0;
	case DEVICE:
		m_unbind(obj);
		return 0;
	default:
		return -EBUSY;
	}
}

int m_change_process(int ctx, struct proc *to)
{
	struct object *obj;
	long locked = to->locked;
	int i, ret = 0;

	for_each(obj, IOAS) {
		for (i = 0; obj->ctx == ctx && i < obj->nr; i++) {
			struct store *store = obj->areas[i].store;

			store->visited = false;
			if (store->file < 0)
				ret = -EINVAL;
		}
	}
	for_each(obj, IOAS) {
		for (i = 0; !ret && obj->ctx == ctx && i < obj->nr; i++) {
			struct store *store = obj->areas[i].store;

			if (store->visited || store->owner == to ||
			    store->charge != PROCESS)
				continue;
			store->visited = true;
			locked += store->npinned;
			if (w->limit && locked > w->limit)
				ret = -ENOMEM;
		}
	}
	if (ret)
		return ret;
	for_each(obj, IOAS) {
		for (i = 0; obj->ctx == ctx && i < obj->nr; i++) {
			struct store *store = obj->areas[i].store;
			long npinned = store->npinned;

			count(store, -npinned);
			store->owner = to;
			count(store, npinned);
		}
	}
	return 0;
}

/* All processes have closed it */
void m_close(int ctx)
{
	struct object *obj;

	for_each(obj, ACCESS)
		if (obj->ctx == ctx) {
			m_access_detach(obj);
			obj->live = false;
		}
	for_each(obj, DEVICE)
		if (obj->ctx == ctx)
			m_unbind(obj);
	for_each(obj, HWPT)
		if (obj->ctx == ctx)
			m_destroy(obj);
	for_each(obj, IOAS)
		if (obj->ctx == ctx)
			m_destroy(obj);
}
